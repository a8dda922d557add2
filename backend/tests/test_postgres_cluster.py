"""The throw-away cluster keeps its promises: fresh, restartable, and gone afterwards."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from tests import postgres_cluster as module
from tests.postgres_cluster import PostgresCluster, PostgresUnavailableError, find_binaries, postgres_cluster

# CI must never pass by leaving these out.
needs_postgres = pytest.mark.skipif(
    find_binaries() is None and "CI" not in os.environ, reason="PostgreSQL is not installed"
)
pytestmark = [pytest.mark.postgres, pytest.mark.slow]


@pytest.fixture(scope="module")
def cluster() -> Iterator[PostgresCluster]:
    with postgres_cluster(durable=False) as cluster:
        yield cluster


def ask(url: str, statement: str) -> object:
    async def ask_server() -> object:
        connection = await asyncpg.connect(url.replace("+asyncpg", ""))
        try:
            return await connection.fetchval(statement)
        finally:
            await connection.close()

    return asyncio.run(ask_server())


@needs_postgres
def test_listens_on_loopback_only(cluster: PostgresCluster) -> None:
    assert ask(cluster.url, "SHOW listen_addresses") == "127.0.0.1"
    assert Path(str(ask(cluster.url, "SHOW unix_socket_directories"))).name.startswith("litevault-pg-")


@needs_postgres
@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_keeps_committed_rows_over_a_restart(cluster: PostgresCluster, mode: module.StopMode) -> None:
    url = cluster.create_database(f"restart_{mode}")
    ask(url, "CREATE TABLE kept AS SELECT 42 AS answer")
    before = cluster.pid
    cluster.restart(mode)
    assert cluster.pid != before
    assert ask(url, "SELECT answer FROM kept") == 42


@needs_postgres
def test_a_stopped_cluster_refuses_connections_and_has_no_pid(cluster: PostgresCluster) -> None:
    cluster.stop()
    try:
        with pytest.raises(OSError, match="Connect"):
            ask(cluster.url, "SELECT 1")
        with pytest.raises(PostgresUnavailableError, match="stopped"):
            _ = cluster.pid
    finally:
        cluster.start()


@needs_postgres
def test_is_durable_unless_told_otherwise() -> None:
    with postgres_cluster() as durable:
        assert ask(durable.url, "SHOW fsync") == "on"


@needs_postgres
def test_ends_and_removes_everything_when_the_body_fails() -> None:
    def fail_in_the_middle() -> None:
        with postgres_cluster(durable=False) as cluster:
            seen.append(cluster)
            pids.append(cluster.pid)
            raise LookupError

    seen: list[PostgresCluster] = []
    pids: list[int] = []
    with pytest.raises(LookupError):
        fail_in_the_middle()
    assert not seen[0].folder.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)


@needs_postgres
def test_a_server_that_cannot_start_is_an_error_with_its_last_words(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with postgres_cluster(durable=False) as cluster:
        cluster.stop()
        (cluster.folder / "data" / "PG_VERSION").write_text("9.1\n")
        with pytest.raises(PostgresUnavailableError, match=r"incompatible"):
            cluster.start()


@needs_postgres
@pytest.mark.parametrize("code", [0, 7])
def test_the_command_line_forwards_the_exit_code_and_leaves_nothing(code: int) -> None:
    script = f"printf %s $LITEVAULT_TEST_POSTGRES_URL; exit {code}"
    done = subprocess.run(
        [sys.executable, "-m", "tests.postgres_cluster", "--not-durable", "--", "sh", "-c", script],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[1],
    )
    assert done.returncode == code
    with pytest.raises(OSError, match="Connect"):
        ask(done.stdout, "SELECT 1")


@needs_postgres
def test_the_command_line_forwards_signals() -> None:
    script = "trap 'exit 3' TERM; echo ready; for _ in $(seq 100); do sleep 0.05; done"
    with subprocess.Popen(
        [sys.executable, "-m", "tests.postgres_cluster", "--not-durable", "--", "sh", "-c", script],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[1],
    ) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"ready\n"
        running.send_signal(signal.SIGTERM)
        assert running.wait(30) == 3


def test_without_binaries_names_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_binaries", lambda: None)
    with pytest.raises(PostgresUnavailableError, match="apt-get install postgresql"):
        PostgresCluster(tmp_path, durable=True)
