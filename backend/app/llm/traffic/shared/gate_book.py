"""Closed gates as the processes on one database keep them. Each function is the work of one short transaction.

Invariant: of the processes that would probe a closed gate one at a time may, until it has told how things stand or its
time for that is over.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, or_, select, text, update
from sqlalchemy.orm import Session

from app.announcements import news_of
from app.errors import LLMAuthRefused, LLMError, LLMRateLimited
from app.llm.traffic.gate import Closure
from app.llm.traffic.shared.traffic_model import LLMGate, time_of

# The part of what the database holds whose changes are announced here.
GATES = "gates"
# A call that finds out takes seconds. Whoever dies over it is waited for so long.
_LONGEST_PROBE_SECONDS = 60.0
# News of a probe's end come sooner.
_LOOK_AGAIN_SECONDS = 1.0
_FAULTS: dict[str, type[LLMError]] = {fault.code: fault for fault in (LLMAuthRefused, LLMRateLimited)}
# So that two processes that close a gate together do not both insert it.
_LOCK = text("SELECT pg_advisory_xact_lock(7325843)")


@dataclass(frozen=True, slots=True)
class Place:
    """A gate, and the process that speaks of it."""

    scope: str
    provider: str
    process_id: str


@dataclass(frozen=True, slots=True)
class Found:
    scope: str
    provider: str
    closure: Closure


def closed_gates(session: Session, process_id: str) -> Sequence[Found]:
    """As this process is to see them: while another one probes, closed for a moment more."""
    rows = session.scalars(select(LLMGate)).all()
    if not rows:
        return []
    now = time_of(session)
    return [Found(row.scope, row.provider, _closure(row, process_id, now)) for row in rows if row.code in _FAULTS]


def close_gate(session: Session, place: Place, closure: Closure) -> None:
    """Closed until the later of what is known; a probe of this process is over, and its word replaces the old one."""
    if session.get_bind().dialect.name != "sqlite":
        session.execute(_LOCK)
    opens_at = time_of(session) + timedelta(seconds=closure.seconds_until_open)
    row = session.get(LLMGate, place.scope)
    if row is None:
        row = LLMGate(scope=place.scope, provider=place.provider, opens_at=opens_at)
        session.add(row)
    elif row.probe_owner == place.process_id:
        row.probe_owner = row.probe_until = None
    elif row.opens_at >= opens_at:
        return
    row.code, row.http_status = closure.fault.code, closure.http_status
    row.wait_seconds, row.opens_at = closure.wait_seconds, opens_at
    news_of(session).configured.add(GATES)


def open_gate(session: Session, scope: str) -> None:
    """A probe has succeeded, or the provider is another one."""
    session.execute(delete(LLMGate).where(LLMGate.scope == scope))
    news_of(session).configured.add(GATES)


def claim_probe(session: Session, place: Place) -> bool:
    """Whether this process may find out how things stand, as the only one."""
    now = time_of(session)
    is_free = or_(LLMGate.probe_until.is_(None), LLMGate.probe_until <= now, LLMGate.probe_owner == place.process_id)
    claiming = (
        update(LLMGate)
        .where(LLMGate.scope == place.scope, LLMGate.opens_at <= now, is_free)
        .values(probe_owner=place.process_id, probe_until=now + timedelta(seconds=_LONGEST_PROBE_SECONDS))
    )
    return bool(session.execute(claiming).rowcount)  # type: ignore[attr-defined]  # a CursorResult


def _closure(row: LLMGate, process_id: str, now: datetime) -> Closure:
    seconds = (row.opens_at - now).total_seconds()
    if row.probe_until is not None and row.probe_owner != process_id:
        probe_seconds = (row.probe_until - now).total_seconds()
        seconds = max(seconds, min(probe_seconds, _LOOK_AGAIN_SECONDS))
    return Closure(_FAULTS[row.code], row.http_status, row.wait_seconds, max(0.0, seconds))
