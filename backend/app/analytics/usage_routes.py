"""The routes of the usage report: one's own for everybody, all of it for operators."""

import re
from datetime import date, timedelta
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BeforeValidator

from app.accounts.identity import CurrentUserId
from app.accounts.roles import Role, requires
from app.analytics.usage import GroupBy, Usage, usage
from app.clock import utc_now
from app.database import Database
from app.errors import InvalidInput
from app.web import DatabaseOf, WireModel, declared_errors

router = APIRouter(tags=["usage"])
_DAYS = 30
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def _day(value: object) -> object:
    """Not the seconds since 1970 that pydantic takes for a day as well."""
    if isinstance(value, str) and _DAY.fullmatch(value) is None:
        raise ValueError("must be a day as 2026-01-31")
    return value


_Date = Annotated[date, BeforeValidator(_day, json_schema_input_type=date)]


class UsageOut(WireModel):
    """`costUsd` is what is known; `unknownCosts` calls are not in it, and `unknownTokens` not in the tokens.

    `savedUsd` and `savedTokens` are what the `cached` answers once took.
    """

    name: str | None
    calls: int
    cached: int
    cost_usd: float
    unknown_costs: int
    input_tokens: int
    output_tokens: int
    unknown_tokens: int
    saved_tokens: int
    saved_usd: float


class UsagesOut(WireModel):
    group_by: GroupBy
    since: date
    until: date
    usage: list[UsageOut]


_Since = Annotated[_Date | None, Query(alias="from", description="The first day, UTC; a month ago by default.")]
_Until = Annotated[_Date | None, Query(alias="to", description="The last day, UTC; today by default.")]
_By = Annotated[GroupBy, Query(alias="groupBy")]


@router.get("/usage", responses=declared_errors(400))
async def get_my_usage(
    user_id: CurrentUserId, database: DatabaseOf, since: _Since = None, until: _Until = None, *, by: _By = GroupBy.DAY
) -> UsagesOut:
    """What was used and spent for the caller."""
    return await _report(database, by, since, until, user_id=user_id)


@router.get("/admin/usage", dependencies=[requires(Role.OPERATOR)], responses=declared_errors(400, 403))
async def get_usage(
    database: DatabaseOf, since: _Since = None, until: _Until = None, *, by: _By = GroupBy.DAY
) -> UsagesOut:
    """What was used and spent for everybody."""
    return await _report(database, by, since, until, user_id=None)


async def _report(
    database: Database, by: GroupBy, since: date | None, until: date | None, *, user_id: str | None
) -> UsagesOut:
    last = until or utc_now().date()
    first = since or max(date.min, last - timedelta(days=min(_DAYS, last.toordinal() - 1)))
    if first > last or last == date.max:
        raise InvalidInput("from: it must not be after `to`.", {"field": "from", "rule": "order"})
    found = await database.read(partial(usage, by=by, since=first, until=last, user_id=user_id))
    return UsagesOut(group_by=by, since=first, until=last, usage=[_out(entry) for entry in found])


def _out(entry: Usage) -> UsageOut:
    return UsageOut.model_validate(entry)
