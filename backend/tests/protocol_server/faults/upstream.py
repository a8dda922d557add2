"""Faults in what the upstream is: its errors, its pace, its connection.

Invariant: an error made before generation bills nothing; what is generated bills in full, also where the
answer is then lost on its way.
"""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

from tests.protocol_server.faults.errors import UPSTREAM_ERRORS, UpstreamError
from tests.protocol_server.faults.plan import Delivery, FaultTable, Plan, entry

UPSTREAM_FAULTS: FaultTable = {}


def _enter_upstream_errors() -> None:
    for name, (error, summary) in UPSTREAM_ERRORS.items():

        def refuse(plan: Plan, _value: float, error: UpstreamError = error) -> None:
            plan.error = error

        refuse.__doc__ = summary
        entry(UPSTREAM_FAULTS, name)(refuse)


_enter_upstream_errors()


@entry(UPSTREAM_FAULTS, "429_retry_after", default=1.0)
def _retry_after(plan: Plan, seconds: float) -> None:
    """429 with Retry-After in seconds."""
    plan.error = UPSTREAM_ERRORS["429"][0]
    plan.headers["retry-after"] = f"{seconds:g}"


@entry(UPSTREAM_FAULTS, "503_retry_after", default=1.0)
def _overloaded_until(plan: Plan, seconds: float) -> None:
    """503 with Retry-After in seconds."""
    plan.error = UPSTREAM_ERRORS["503"][0]
    plan.headers["retry-after"] = f"{seconds:g}"


@entry(UPSTREAM_FAULTS, "429_retry_date", default=2.0)
def _retry_date(plan: Plan, seconds: float) -> None:
    """429 with Retry-After as an HTTP date, so many seconds from now."""
    plan.error = UPSTREAM_ERRORS["429"][0]
    plan.headers["retry-after"] = format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


@entry(UPSTREAM_FAULTS, "latency", default=0.2)
def _latency(plan: Plan, seconds: float) -> None:
    """Silence of so many seconds before the first byte, on top of the server's own latency."""
    plan.wait_seconds += seconds


@entry(UPSTREAM_FAULTS, "slow_headers", default=1.0)
def _slow_headers(plan: Plan, seconds: float) -> None:
    """The header block dribbles over so many seconds."""
    plan.delivery, plan.delivery_seconds = Delivery.SLOW_HEADERS, seconds


@entry(UPSTREAM_FAULTS, "slow_body", default=1.0)
def _slow_body(plan: Plan, seconds: float) -> None:
    """Headers at once, then the body dribbles over so many seconds."""
    plan.delivery, plan.delivery_seconds = Delivery.SLOW_BODY, seconds


@entry(UPSTREAM_FAULTS, "reset")
def _reset(plan: Plan, _value: float) -> None:
    """TCP reset before any byte; nothing was generated."""
    plan.delivery, plan.is_generated = Delivery.RESET, False


@entry(UPSTREAM_FAULTS, "reset_body")
def _reset_body(plan: Plan, _value: float) -> None:
    """Headers and half of the body, then a TCP reset; billed in full."""
    plan.delivery = Delivery.RESET_BODY


@entry(UPSTREAM_FAULTS, "hang_headers")
def _hang_headers(plan: Plan, _value: float) -> None:
    """Silence until the client leaves; nothing was generated."""
    plan.delivery, plan.is_generated = Delivery.HANG_HEADERS, False


@entry(UPSTREAM_FAULTS, "hang_body")
def _hang_body(plan: Plan, _value: float) -> None:
    """Headers and half of the body, then silence until the client leaves; billed in full."""
    plan.delivery = Delivery.HANG_BODY
