"""One kind of thing that is swept: which rows, and what is done with them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.orm import Session

from app.database import ID_MARGIN, first_id, sqlite_time
from app.json_rows import ColumnType, encode_rows, rows_as_table


@dataclass(frozen=True, slots=True)
class Sweep:
    """Rows of `table` that are `old`, an SQL condition; kept for `days`, 0 is for ever.

    Its binds are `:before` and `:before_id`, which comes after every id that was made before, with a margin.

    `key` is the column that names a row. `remove` is for more than a deletion; it is given keys of rows that were old a
    moment ago, and must ask the condition again.
    """

    name: str
    table: str
    old: str
    days: int
    key: str = "id"
    key_type: ColumnType = "text"
    remove: "Callable[[Sweep, Session, Sequence[str], datetime], int] | None" = None


def find(session: Session, sweep: Sweep, before: datetime, limit: int) -> list[str]:
    """Keys of old rows, at most so many. Only reads."""
    statement = f"SELECT {sweep.key} FROM {sweep.table} WHERE {sweep.old} LIMIT {limit}"  # noqa: S608 - our own names
    return [str(key) for key in session.scalars(text(statement), _times(session, before))]


def count(session: Session, sweep: Sweep, before: datetime) -> int:
    """How many are old now. Only reads."""
    statement = f"SELECT COUNT(*) FROM {sweep.table} WHERE {sweep.old}"  # noqa: S608 - our own names
    return int(session.scalar(text(statement), _times(session, before)) or 0)


def remove(session: Session, sweep: Sweep, keys: Sequence[str], before: datetime) -> int:
    """How many of these were still old, and are gone."""
    if sweep.remove is not None:
        return sweep.remove(sweep, session, keys, before)
    return delete_keys(session, sweep, keys, before)


def delete_keys(session: Session, sweep: Sweep, keys: Sequence[str], before: datetime) -> int:
    statement = text(f"DELETE FROM {sweep.table} WHERE {chosen(session, sweep)}")  # noqa: S608 - our own names
    return int(session.execute(statement, binds(session, keys, before)).rowcount)  # type: ignore[attr-defined]


def chosen(session: Session, sweep: Sweep) -> str:
    """SQL: the row is among the keys in `:rows`, and still old."""
    rows = rows_as_table({"id": sweep.key_type}, on_sqlite=_is_sqlite(session))
    return f"{sweep.table}.{sweep.key} IN (SELECT v.id FROM {rows}) AND {sweep.old}"  # noqa: S608 - our own names


def binds(session: Session, keys: Sequence[str], before: datetime) -> dict[str, object]:
    return {"rows": encode_rows([{"id": key} for key in keys]), **_times(session, before)}


def _times(session: Session, before: datetime) -> dict[str, object]:
    moment = sqlite_time(before) if _is_sqlite(session) else before
    return {"before": moment, "before_id": first_id(before + ID_MARGIN)}


def _is_sqlite(session: Session) -> bool:
    return session.get_bind().dialect.name == "sqlite"
