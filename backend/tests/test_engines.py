"""Each test gets a database of its own, on either engine, and migrations run once."""

import asyncio
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg
import pytest

from tests import engines
from tests.postgres_cluster import URL_VARIABLE, find_binaries, postgres_cluster

needs_postgres = pytest.mark.skipif(
    find_binaries() is None and "CI" not in os.environ, reason="PostgreSQL is not installed"
)

fresh_database = contextmanager(engines.fresh_database)


@pytest.fixture(scope="module")
def server_url() -> Iterator[str]:
    with postgres_cluster(durable=False) as cluster:
        yield cluster.url


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=[needs_postgres, pytest.mark.postgres])])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    name = str(request.param)
    monkeypatch.setenv("LITEVAULT_TEST_DATABASE", name)
    if name == "postgresql":
        monkeypatch.setenv(URL_VARIABLE, request.getfixturevalue("server_url"))
    return name


class Migration:
    """Stands in for Alembic: one table, and a count of how often it ran."""

    def __init__(self) -> None:
        self.runs = 0

    def __call__(self, url: str) -> None:
        self.runs += 1
        execute(url, "CREATE TABLE note (id integer)")


def execute(url: str, statement: str) -> int:
    """Returns the number of rows."""
    if url.startswith("sqlite"):
        connection = sqlite3.connect(url.removeprefix("sqlite+aiosqlite:///"))
        with connection:
            rows = connection.execute(statement).fetchall()
        connection.close()
        return len(rows)

    async def execute_on_server() -> int:
        connection = await asyncpg.connect(url.replace("+asyncpg", ""))
        rows = await connection.fetch(statement)
        await connection.close()
        return len(rows)

    return asyncio.run(execute_on_server())


@pytest.mark.usefixtures("engine")
def test_two_databases_share_the_schema_and_no_row() -> None:
    migration = Migration()
    with fresh_database(migration) as first, fresh_database(migration) as second:
        execute(first, "INSERT INTO note VALUES (1)")
        assert execute(first, "SELECT id FROM note") == 1
        assert execute(second, "SELECT id FROM note") == 0
    assert migration.runs == 1


@pytest.mark.usefixtures("engine")
def test_a_database_given_back_is_not_handed_out_again() -> None:
    migration = Migration()
    with fresh_database(migration) as first:
        execute(first, "INSERT INTO note VALUES (1)")
    with fresh_database(migration) as second:
        assert second != first
        assert execute(second, "SELECT id FROM note") == 0


async def test_works_inside_a_running_event_loop(engine: str) -> None:
    with fresh_database(lambda _: None) as url:
        assert url.startswith(engine)


@pytest.mark.parametrize(
    ("engine_name", "complaint"),
    [("mysql", "must be sqlite or postgresql"), ("postgresql", "make test-postgres")],
)
def test_a_wrong_environment_is_an_error_that_says_what_to_set(
    monkeypatch: pytest.MonkeyPatch, engine_name: str, complaint: str
) -> None:
    monkeypatch.setenv("LITEVAULT_TEST_DATABASE", engine_name)
    monkeypatch.delenv(URL_VARIABLE, raising=False)
    with pytest.raises(engines.EngineNotConfiguredError, match=complaint), fresh_database(print):
        pass
