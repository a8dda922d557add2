"""Tells of crossed thresholds: in the log, and where `alert_urls` say, by webhook or mail.

A crossing was written down once, by the transaction that made it; whoever takes it up here holds it for a while, so
that it is told once though there are many processes. Nothing waits for this, and what fails is tried again, later each
time. What is sent are figures and ids, never a text of a person.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from functools import partial

import structlog
from pydantic import SecretStr
from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

from app.clock import utc_now
from app.database import Database
from app.following import followed
from app.spending.budget_model import SpendingAlert
from app.spending.counters import ALERTS
from app.spending.schemas import exact

log = structlog.get_logger()
Send = Callable[[str, str, str], Awaitable[bool]]
_POLL_SECONDS = 30.0
_HELD_SECONDS = 120.0
_FIRST_BACKOFF_SECONDS, _LONGEST_BACKOFF_SECONDS = 30.0, 3600.0
_MOST_TRIES = 12
_AT_A_TIME = 20


async def send_by_apprise(url: str, title: str, body: str) -> bool:
    """Whether it was delivered. In a thread: the library waits for the network."""

    def send() -> bool:
        # Here and not above: it costs 15 MB and a part of a second, which whoever has no channel does not pay.
        import apprise  # noqa: PLC0415

        sender = apprise.Apprise()
        return bool(sender.add(url) and sender.notify(body=body, title=title))

    return await asyncio.to_thread(send)


class AlertTeller:
    """Of a process."""

    def __init__(self, database: Database, urls: Sequence[SecretStr], send: Send = send_by_apprise) -> None:
        self._database, self._urls, self._send = database, urls, send
        self._is_failing: set[int] = set()

    def telling(self) -> AbstractAsyncContextManager[None]:
        """In the block, what is to be told is told; a slow channel holds nobody up."""
        return followed(self._database, ALERTS, self.tell_due, poll_seconds=_POLL_SECONDS, waits=False)

    async def tell_due(self) -> int:
        """Tell what is due now; how many were told to all channels."""
        due = await self._database.write(_take)
        return sum([await self._tell(alert) for alert in due])

    async def _tell(self, alert: SpendingAlert) -> bool:
        title, body = _sentences(alert)
        if alert.tries == 1:
            log.warning(
                "budget.threshold_crossed",
                scope=alert.scope,
                subject=alert.subject or None,
                period=alert.period,
                percent=alert.percent,
                spent_usd=exact(alert.spent_usd),
                limit_usd=exact(alert.limit_usd),
            )
        left = [place for place in range(len(self._urls)) if place not in alert.told_channels]
        told = [place for place in left if await self._deliver(place, title, body)]
        is_over = len(told) == len(left) or alert.tries >= _MOST_TRIES
        channels = [*alert.told_channels, *told]
        await self._database.write(
            partial(_note, alert_id=alert.id, channels=channels, tries=alert.tries, over=is_over)
        )
        return len(told) == len(left)

    async def _deliver(self, place: int, title: str, body: str) -> bool:
        """The address may hold a password: it is named by its place in the setting."""
        kind: str | None = None
        try:
            is_delivered = await self._send(self._urls[place].get_secret_value(), title, body)
        except Exception as error:  # noqa: BLE001 - a channel may fail in any way; its text may hold the address
            is_delivered, kind = False, type(error).__name__
        if is_delivered:
            self._is_failing.discard(place)
        elif place not in self._is_failing:
            self._is_failing.add(place)
            log.error("alert.not_delivered", channel=place + 1, kind=kind)
        return is_delivered


def _take(session: Session) -> list[SpendingAlert]:
    """Those that are due, held for a while, each by one process: on PostgreSQL the row's lock decides."""
    now = utc_now()
    is_due = or_(SpendingAlert.not_before.is_(None), SpendingAlert.not_before <= now)
    due = select(SpendingAlert.id).where(SpendingAlert.told_at.is_(None), is_due)
    chosen = due.order_by(SpendingAlert.at).limit(_AT_A_TIME).with_for_update(skip_locked=True)
    taking = (
        update(SpendingAlert)
        .where(SpendingAlert.id.in_(chosen.scalar_subquery()))
        .values(tries=SpendingAlert.tries + 1, not_before=now + timedelta(seconds=_HELD_SECONDS))
        .returning(SpendingAlert)
        .execution_options(synchronize_session=False, populate_existing=True)
    )
    return list(session.scalars(taking))


def _note(session: Session, alert_id: str, channels: list[int], *, tries: int, over: bool) -> None:
    now = utc_now()
    backoff = min(_LONGEST_BACKOFF_SECONDS, _FIRST_BACKOFF_SECONDS * 2.0 ** (tries - 1))
    values = {
        "told_channels": channels,
        "told_at": now if over else None,
        "not_before": now + timedelta(seconds=backoff),
    }
    session.execute(update(SpendingAlert).where(SpendingAlert.id == alert_id).values(values))


def _sentences(alert: SpendingAlert) -> tuple[str, str]:
    whose = f"{alert.scope} {alert.subject}".strip()
    title = f"LiteVault: {alert.percent} % of the budget of {whose} for the {alert.period}"
    spent, limit = exact(alert.spent_usd), exact(alert.limit_usd)
    began = f"{alert.period_start:%Y-%m-%d %H:%M}"
    return title, f"{spent} of {limit} USD are spent or reserved in the {alert.period} that began {began} UTC."
