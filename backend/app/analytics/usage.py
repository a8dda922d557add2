"""What was used and what it cost, summed over the ledger, and over the summaries of what was folded away of it.

Every sum is beside the number of calls whose part in it is unknown: an unknown cost is never 0.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from app.database import ID_MARGIN, first_id, from_pico, sqlite_time


class GroupBy(StrEnum):
    USER = "user"
    KEY = "key"
    PROVIDER = "provider"
    MODEL = "model"
    TASK = "task"
    PROMPT = "prompt"
    DAY = "day"


@dataclass(frozen=True, slots=True)
class Usage:
    """Of one group. `name` None: the calls of which it was not noted.

    `calls` went to a provider; `cached` were answered from before, and saved what that answer once took. The sums are
    of what is known, with the number of calls that are missing in them.
    """

    name: str | None
    calls: int
    cached: int
    cost_usd: Decimal
    unknown_costs: int
    input_tokens: int
    output_tokens: int
    unknown_tokens: int
    saved_tokens: int
    saved_usd: Decimal


_GROUPS: Mapping[GroupBy, str] = {
    GroupBy.USER: "user_id",
    GroupBy.KEY: "api_key_id",
    GroupBy.PROVIDER: "provider",
    GroupBy.MODEL: "model",
    GroupBy.TASK: "task",
    GroupBy.PROMPT: "prompt_id || '/' || CAST(prompt_version AS VARCHAR(20))",
    GroupBy.DAY: "day",
}
_MADE = "(outcome IS NULL OR outcome NOT IN ('UNUSED', 'CACHED'))"
SUMS = (
    *("calls", "cached", "cost_usd", "unknown_costs", "input_tokens", "output_tokens", "unknown_tokens"),
    *("saved_tokens", "saved_usd"),
)
_MONEY = ("cost_usd", "saved_usd")
# Each of a row of the ledger, as the summaries hold them of many.
OF_AN_ATTEMPT: Mapping[str, str] = {
    "calls": f"CASE WHEN {_MADE} THEN 1 ELSE 0 END",
    "cached": "CASE WHEN outcome = 'CACHED' THEN 1 ELSE 0 END",
    "cost_usd": "COALESCE(cost_usd, 0)",
    "unknown_costs": f"CASE WHEN {_MADE} AND cost_usd IS NULL THEN 1 ELSE 0 END",
    "input_tokens": "COALESCE(input_tokens, 0)",
    "output_tokens": "COALESCE(output_tokens, 0)",
    "unknown_tokens": f"CASE WHEN {_MADE} AND (input_tokens IS NULL OR output_tokens IS NULL) THEN 1 ELSE 0 END",
    "saved_tokens": "COALESCE(saved_tokens, 0)",
    "saved_usd": "COALESCE(saved_usd, 0)",
}


def day_of(column: str, *, on_sqlite: bool) -> str:
    """SQL for the UTC day as YYYY-MM-DD."""
    return f"substr({column}, 1, 10)" if on_sqlite else f"to_char({column} AT TIME ZONE 'UTC', 'YYYY-MM-DD')"


def usage(session: Session, by: GroupBy, *, since: date, until: date, user_id: str | None = None) -> list[Usage]:
    """From the day `since` to the day `until`, both UTC and included; of one person or of all."""
    on_sqlite = session.get_bind().dialect.name == "sqlite"
    names = ("user_id", "api_key_id", "provider", "model", "task", "prompt_id", "prompt_version")
    whose = "" if user_id is None else " AND user_id = :user_id"
    detail = ", ".join(f"{sql} AS {name}" for name, sql in OF_AN_ATTEMPT.items())
    both = (
        f"SELECT {day_of('started_at', on_sqlite=on_sqlite)} AS day, {', '.join(names)}, {detail}"  # noqa: S608 - ours
        f" FROM llm_attempts WHERE id >= :first_id AND id < :end_id"
        f" AND started_at >= :first AND started_at < :end{whose}"
        f" UNION ALL SELECT day, {', '.join(names)}, {', '.join(SUMS)}"
        f" FROM llm_usage_days WHERE day >= :since AND day <= :until{whose}"
    )
    sums = ", ".join(f"SUM({name}) AS {name}" for name in SUMS)
    query = f"SELECT {_GROUPS[by]} AS name, {sums} FROM ({both}) AS used GROUP BY 1 ORDER BY 1"  # noqa: S608 - ours
    rows = session.execute(text(query), _binds(since, until, user_id, on_sqlite=on_sqlite))
    return [_usage(row) for row in rows if row.calls or row.cached]


def _usage(row: Any) -> Usage:  # noqa: ANN401 - a Row
    numbers = {name: int(getattr(row, name)) for name in SUMS}
    money = {name: from_pico(numbers[name]) for name in _MONEY}
    return Usage(row.name, **{**numbers, **money})  # type: ignore[arg-type]


def _binds(since: date, until: date, user_id: str | None, *, on_sqlite: bool) -> dict[str, Any]:
    first, end = _midnight(since), _midnight(date.fromordinal(until.toordinal() + 1))
    binds: dict[str, Any] = {"since": since.isoformat(), "until": until.isoformat()}
    binds |= {"first_id": first_id(first - ID_MARGIN), "end_id": first_id(end + ID_MARGIN)}
    binds |= {"first": sqlite_time(first), "end": sqlite_time(end)} if on_sqlite else {"first": first, "end": end}
    return binds if user_id is None else {**binds, "user_id": user_id}


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
