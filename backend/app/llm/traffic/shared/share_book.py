"""The shares in limits as the processes on one database keep them, in one short transaction for each change.

Invariant: whoever changes a share of a provider's limits holds that provider's lock, has read all shares in it, and
already keeps to the smaller of its old and its new one. A process that is not heard of keeps its share until what it
may have sent is a minute old.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import Table, delete, select, text, tuple_
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from app.announcements import news_of
from app.llm.traffic.limits import Demand, Unit
from app.llm.traffic.shared.allotment import Stake, allot
from app.llm.traffic.shared.traffic_model import LLMShare, time_of

_SHARES = cast("Table", LLMShare.__table__)
_LOCK = text("SELECT pg_advisory_xact_lock(7325842, hashtext(:provider))")
# For the way of what was sent last, and for the process to notice that its time is over.
_GRACE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Visit:
    """What a process says of itself; without demands, or when it is leaving, it wants nothing more."""

    provider: str
    process_id: str
    demands: Mapping[Unit, Demand]
    lease_seconds: float
    minute_seconds: float
    is_leaving: bool = False


@dataclass(frozen=True, slots=True)
class Taken:
    """What the process holds from now on; `is_contended`: others wait for what it no longer needs."""

    shares: Mapping[Unit, int]
    is_contended: bool
    processes: int


def topic_of(provider: str) -> str:
    """Announced when somebody waits for shares that others hold, or has given back what others wait for."""
    return f"shares/{provider}"


def take(session: Session, visit: Visit) -> Taken:
    """Give back what is not needed and take what may be had, in the caller's transaction."""
    if session.get_bind().dialect.name != "sqlite":
        session.execute(_LOCK, {"provider": visit.provider})
    now = time_of(session)
    rows = session.scalars(select(LLMShare).where(LLMShare.provider == visit.provider)).all()
    own = {Unit(row.unit): row for row in rows if row.process_id == visit.process_id}
    others = [row for row in rows if row.process_id != visit.process_id]
    dead = [row for row in others if _is_gone(row, now, visit.minute_seconds)]
    others = [row for row in others if row not in dead]
    stakes = {unit: [_stake(row, now) for row in others if row.unit == unit] for unit in visit.demands}
    shares = {unit: _share(visit, unit, stakes[unit]) for unit in visit.demands}
    entries = _entries(visit, shares, now)
    kept = {entry["unit"] for entry in entries}
    _delete(session, [*dead, *(row for unit, row in own.items() if unit not in kept)])
    _write(session, entries)
    waits = any(_waits(row, now) for row in others)
    if _is_news(visit, shares, own, others) or (waits and _gave_back(shares, own)):
        news_of(session).configured.add(topic_of(visit.provider))
    living = {row.process_id for row in others if row.valid_until > now}
    return Taken(shares, waits, len(living) + 1)


def _share(visit: Visit, unit: Unit, others: Sequence[Stake]) -> int:
    demand = visit.demands[unit]
    if visit.is_leaving or not (demand.used or demand.waiting):
        return demand.used
    waited, least = demand.waited_seconds, demand.least_waited_seconds
    mine = Stake(0, demand.used, demand.waiting, demand.head, waited, least, visit.process_id)
    return allot(demand.limit, mine, others)


def _stake(row: LLMShare, now: datetime) -> Stake:
    """One that is not heard of any more waits for nothing, and may have used all that it held."""
    if row.valid_until <= now:
        return Stake(row.share, row.share)
    waited, least = ((now - (since or now)).total_seconds() for since in (row.waiting_since, row.last_waiting_since))
    return Stake(row.share, row.used, row.waiting, row.head, waited, least, row.process_id)


def _is_gone(row: LLMShare, now: datetime, minute_seconds: float) -> bool:
    return row.valid_until + timedelta(seconds=minute_seconds + _GRACE_SECONDS) <= now


def _waits(row: LLMShare, now: datetime) -> bool:
    return row.valid_until > now and row.used + row.waiting > row.share


def _is_news(
    visit: Visit, shares: Mapping[Unit, int], own: Mapping[Unit, LLMShare], others: Sequence[LLMShare]
) -> bool:
    """Whether the others must hear that this process waits: for the first time, or still, where somebody has more."""
    short = {unit for unit, demand in visit.demands.items() if demand.used + demand.waiting > shares[unit]}
    known = {unit for unit, row in own.items() if row.waiting}
    return bool(short - known) or any(row.unit in short and row.share > row.used for row in others)


def _gave_back(shares: Mapping[Unit, int], own: Mapping[Unit, LLMShare]) -> bool:
    return any(row.share > shares.get(unit, 0) for unit, row in own.items())


def _delete(session: Session, rows: Sequence[LLMShare]) -> None:
    if rows:
        keys = [(row.provider, row.process_id, row.unit) for row in rows]
        named = tuple_(_SHARES.c.provider, _SHARES.c.process_id, _SHARES.c.unit)
        session.execute(delete(_SHARES).where(named.in_(keys)))


def _entries(visit: Visit, shares: Mapping[Unit, int], now: datetime) -> list[dict[str, Any]]:
    """A row for each unit that it holds or waits for."""
    valid_until = now if visit.is_leaving else now + timedelta(seconds=visit.lease_seconds)
    return [
        {
            "provider": visit.provider,
            "process_id": visit.process_id,
            "unit": unit,
            "share": shares[unit],
            "used": demand.used,
            "waiting": demand.waiting,
            "head": demand.head,
            "waiting_since": now - timedelta(seconds=demand.waited_seconds) if demand.waiting else None,
            "last_waiting_since": now - timedelta(seconds=demand.least_waited_seconds) if demand.waiting else None,
            "valid_until": valid_until,
        }
        for unit, demand in visit.demands.items()
        if shares[unit] or (demand.waiting and not visit.is_leaving)
    ]


def _write(session: Session, entries: Sequence[dict[str, Any]]) -> None:
    if not entries:
        return
    dialect = sqlite if session.get_bind().dialect.name == "sqlite" else postgresql
    adding = dialect.insert(_SHARES).values(list(entries))
    key = [column.name for column in _SHARES.primary_key]
    changed = {column.name: adding.excluded[column.name] for column in _SHARES.c if column.name not in key}
    session.execute(adding.on_conflict_do_update(index_elements=key, set_=changed))
