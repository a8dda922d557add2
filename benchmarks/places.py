"""Databases to measure on: fresh and migrated, fully durable, with as many items waiting as a measurement wants."""

import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
from sqlalchemy import make_url

from app.migrations import bring_up_to_date
from tests.postgres_cluster import PostgresCluster, postgres_cluster

WORDS = (
    "Remember to ask the gardener about the pear trees before the frost. The old wall holds the warmth of the day,"
    " and what stands beside it flowers a week earlier than the rest of the orchard. Bring the notebook of last year."
)


@dataclass(frozen=True, slots=True)
class Place:
    """A migrated database, and a folder for whatever else a measurement leaves."""

    engine: str
    url: str
    folder: Path

    @property
    def path(self) -> str:
        """Of the SQLite file."""
        return make_url(self.url).database or ""

    @property
    def dsn(self) -> str:
        """For asyncpg itself."""
        return self.url.replace("+asyncpg", "", 1)


class Places:
    """Makes places; the PostgreSQL cluster starts when the first one asks for it."""

    def __init__(self, stack: ExitStack, engines: tuple[str, ...]) -> None:
        self._stack, self.engines = stack, engines
        self._cluster: PostgresCluster | None = None
        self._made = 0

    async def fresh(self, engine: str) -> Place:
        self._made += 1
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="litevault-bench-")))
        if engine == "sqlite":
            url = f"sqlite+aiosqlite:///{folder / 'litevault.db'}"
        else:
            if self._cluster is None:
                self._cluster = self._stack.enter_context(postgres_cluster())
            url = self._cluster.create_database(f"bench_{self._made}")
        await bring_up_to_date(url)
        return Place(engine, url, folder)


@contextmanager
def places(engines: tuple[str, ...]) -> Iterator[Places]:
    with ExitStack() as stack:
        yield Places(stack, engines)


async def fill(place: Place, items: int, *, users: int = 10, first: int = 0) -> None:
    """Put `items` ready rows of `users` people into the database, ranked as if they had come in turn."""
    if place.engine == "sqlite":
        connection = sqlite3.connect(place.path)
        for statement in (_users(users, _SQLITE), _items(items, users, first, _SQLITE)):
            connection.execute(statement, {"text": WORDS})
        connection.commit()
        # Without statistics the planner guesses; a server in use has them.
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
        return
    postgres = await asyncpg.connect(place.dsn)
    await postgres.execute(_users(users, _POSTGRES))
    await postgres.execute(_items(items, users, first, _POSTGRES).replace(":text", f"'{WORDS}'"))
    await postgres.execute("VACUUM ANALYZE items")
    await postgres.close()


@dataclass(frozen=True, slots=True)
class _Dialect:
    series: str
    hex: str
    now: str


_SQLITE = _Dialect(
    "(WITH RECURSIVE n(i) AS (SELECT {first} WHERE {first} < {end} UNION ALL SELECT i + 1 FROM n WHERE i + 1 < {end})"
    " SELECT i FROM n)",
    "printf('%012x', {})",
    "strftime('%Y-%m-%d %H:%M:%f000', 'now')",
)
_POSTGRES = _Dialect("generate_series({first}, {end} - 1) AS n(i)", "lpad(to_hex({}), 12, '0')", "now()")


def _id(kind: str, number: str, dialect: _Dialect) -> str:
    return f"'00000000-0000-7000-{kind}-' || {dialect.hex.format(number)}"


def _users(users: int, dialect: _Dialect) -> str:
    return (
        "INSERT INTO users (id, issuer, subject, created_at, updated_at)"
        f" SELECT {_id('8000', 'i', dialect)}, 'dev', 'person-' || i, {dialect.now}, {dialect.now}"
        f" FROM {dialect.series.format(first=0, end=users)} WHERE true ON CONFLICT DO NOTHING"
    )


def _items(items: int, users: int, first: int, dialect: _Dialect) -> str:
    return (
        "INSERT INTO items (id, user_id, raw_text, text_hash, status, enrichment_mode, suggestions, created_at,"
        f" updated_at, rank) SELECT {_id('9000', 'i', dialect)}, {_id('8000', f'(i % {users})', dialect)},"
        f" 'Note ' || i || '. ' || :text, 'hash', 'ENRICHING', 'AI', '[]', {dialect.now}, {dialect.now}, i / {users}"
        f" FROM {dialect.series.format(first=first, end=first + items)}"
    )
