"""A database that goes away under real servers: they refuse clearly, wait, and go on without a restart."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.migrations import migrate
from tests.postgres_cluster import PostgresCluster, StopMode, find_binaries, find_free_port, postgres_cluster
from tests.server_process import Processes, Server, query, wait_until
from tests.test_database_faults import LONG, assert_unavailable, sqlite_only

pytestmark = pytest.mark.slow
needs_postgres = pytest.mark.skipif(
    find_binaries() is None and "CI" not in os.environ, reason="PostgreSQL is not installed"
)
UNDER_WAY = "SELECT count(*) FROM llm_attempts WHERE outcome IS NULL"
ENDED = "SELECT status, attempt, deaths FROM items"


@pytest.fixture(scope="module")
def cluster() -> Iterator[PostgresCluster]:
    """Durable: a stop of it is a crash, and what was committed must be there afterwards."""
    with postgres_cluster() as cluster:
        yield cluster


@contextlib.contextmanager
def processes_on(url: str, folder: Path) -> Iterator[Processes]:
    processes = Processes(folder, url)
    try:
        yield processes
    finally:
        processes.close()


def post(server: Server, text: str = "Not now.") -> int:
    answer = server.http.post("/api/v1/items", json={"rawText": text}, **server.as_user("ann"))
    if answer.status_code != 201:
        assert_unavailable(answer)
    return answer.status_code


@pytest.mark.postgres
@needs_postgres
@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_postgres_goes_away_and_comes_back_under_a_server(
    cluster: PostgresCluster, tmp_path: Path, mode: StopMode
) -> None:
    url = cluster.create_database(f"outage_{mode}")
    with processes_on(url, tmp_path) as processes:
        server = processes.start_server(llm_stub_delay_seconds=1.5)
        item_id = server.post("In flight.")
        wait_until(lambda: query(url, UNDER_WAY) == [(1,)], "a call under way")
        cluster.stop(mode)
        assert post(server) == 503
        assert_unavailable(server.http.get(f"/api/v1/items/{item_id}", **server.as_user("ann")))
        status, body = server.readiness()
        assert (status, body["status"]) == (503, "unavailable")
        assert body["checks"] == {"database": "unreachable", "worker": "ok", "migrations": "unknown"}
        # The call ends meanwhile, and its answer has to wait.
        server.wait_log("worker.database_unavailable")
        cluster.start()
        server.wait_ready()
        server.wait_status([item_id], ["READY_TO_CONFIRM"])
        assert query(url, ENDED) == [("READY_TO_CONFIRM", 1, 0)]
        server.wait_status([server.post("After it.")], ["READY_TO_CONFIRM"])


@pytest.mark.postgres
@needs_postgres
def test_after_an_outage_a_worker_in_another_process_hears_the_api_again(
    cluster: PostgresCluster, tmp_path: Path
) -> None:
    url = cluster.create_database("outage_heard")
    with processes_on(url, tmp_path) as processes:
        server = processes.start_server(worker_enabled=False)
        worker = processes.start_worker(worker_poll_seconds=600)
        cluster.stop("immediate")
        worker.wait_log("newswire.lost_connection")
        cluster.start()
        server.wait_ready()
        seconds = server.wait_status([server.post("After it.")], ["READY_TO_CONFIRM"])
        print(f"enriched by the other process {seconds:.2f} s after the first post that went through")
        assert worker.stop() == 0


def assert_refuses_to_start(url: str, folder: Path, sentence: str) -> None:
    """With this in one line, where others would show a traceback."""
    with processes_on(url, folder) as processes:
        server = processes.start_server(ready=False)
        assert server.wait_end(30) > 0
        assert [line for line in server.log.splitlines() if sentence in line and '"level": "error"' in line]
        assert "Traceback" not in server.log and "canary-password" not in server.log


def test_a_postgres_that_is_away_at_the_start_ends_the_server(tmp_path: Path) -> None:
    place = f"127.0.0.1:{find_free_port()}"
    url = f"postgresql+asyncpg://ann:canary-password@{place}/x"
    assert_refuses_to_start(url, tmp_path, f"PostgreSQL at {place} refuses the connection")


def test_a_folder_that_cannot_be_made_ends_the_server(tmp_path: Path) -> None:
    assert_refuses_to_start("sqlite+aiosqlite:////proc/no/litevault.db", tmp_path, "/proc/no cannot be made")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 4 MB with a migrated database on it."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "litevault-test", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("needs the right to mount a file system")
    migrate(f"sqlite+aiosqlite:///{folder}/litevault.db")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk: Path) -> Path:
    """A file that takes all the room there is."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"\0" * 4096)
    return filler


@sqlite_only
def test_on_a_full_disk_nothing_acknowledged_is_lost_and_room_is_enough_to_go_on(disk: Path, tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{disk}/litevault.db"
    with processes_on(url, tmp_path) as processes:
        server = processes.start_server(llm_stub_delay_seconds=1.5, llm_concurrency=1)
        kept = [server.post(LONG)]
        wait_until(lambda: query(url, UNDER_WAY) == [(1,)], "a call under way")
        filler = fill(disk)
        while (answer := server.http.post("/api/v1/items", json={"rawText": LONG}, **server.as_user("ann"))).is_success:
            kept.append(answer.json()["id"])
        assert_unavailable(answer)
        server.wait_log("worker.database_unavailable")
        assert server.statuses(kept) == {"ENRICHING"}
        filler.unlink()
        server.wait_status(kept, ["READY_TO_CONFIRM"], seconds=30)
        assert set(query(url, ENDED)) == {("READY_TO_CONFIRM", 1, 0)}
        assert query(url, "SELECT count(*) FROM items") == [(len(kept),)]
        assert query(url, "PRAGMA integrity_check") == [("ok",)]
        assert post(server) == 201


@sqlite_only
def test_a_read_only_disk_at_the_start_ends_the_server(disk: Path, tmp_path: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    sentence = "cannot be opened: look at the rights on it and its folder"
    assert_refuses_to_start(f"sqlite+aiosqlite:///{disk}/litevault.db", tmp_path, sentence)
