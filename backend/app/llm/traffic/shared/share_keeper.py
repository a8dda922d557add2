"""Keeps a process's shares in the limits a minute of its providers, for as long as it calls them.

A share lets calls pass without asking anybody; the database is visited for more of it, to give back what others wait
for, and now and then to say that the process lives. Invariant: while a visit is under way nobody enters who would not
fit in the smaller outcome, and after the end of its lease no share is used. Where the database is away for longer, each
process keeps to the whole limit by itself, and says so.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog
from sqlalchemy.orm import Session

from app import clock
from app.announcements import News, news_of
from app.database import Database
from app.llm.traffic.limits import Turnstile, Unit
from app.llm.traffic.shared.share_book import Taken, Visit, take, topic_of
from app.providers.traffic import LimitState

log = structlog.get_logger(__name__)
_LONGEST_VISIT_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Pace:
    """How often a process asks: of its lease, and in parts of the minute that is counted."""

    minute_seconds: float = 60.0
    lease_seconds: float = 15.0

    @property
    def gap_seconds(self) -> float:
        """The shortest time between two visits of a process that is not alone."""
        return self.minute_seconds / 300

    @property
    def poll_seconds(self) -> float:
        """After this time a process that waits looks again, whatever it has heard."""
        return self.minute_seconds / 60


class ShareKeeper:
    """Of one provider's limits in this process."""

    def __init__(self, database: Database, provider: str, turnstile: Turnstile, pace: Pace) -> None:
        self._database, self._provider, self._turnstile, self._pace = database, provider, turnstile, pace
        self._wanted = asyncio.Event()
        self._taken = Taken({}, is_contended=False, processes=1)
        self._reserved: Mapping[Unit, int] = {}
        self._lease_ends = self._renew_at = clock.local_seconds()
        self._is_visiting = self._is_on_its_own = False
        self._told_short = False
        self._own_news: News | None = None
        self._writing: asyncio.Future[Taken] | None = None
        turnstile.on_change = self._look
        turnstile.freeze()

    async def keep(self) -> None:
        """Until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._patience()):
                    await self._wanted.wait()
            self._wanted.clear()
            if not await self._visit():
                await clock.sleep(self._pace.poll_seconds)
            elif self._taken.processes > 1:
                await clock.sleep(self._pace.gap_seconds)
            self._look()

    def review(self) -> None:
        """The limits are new."""
        if not self._is_on_its_own:
            self._turnstile.freeze()
        self._wanted.set()

    async def leave(self) -> None:
        """Give back what was not used; what was counts until it is a minute old."""
        if self._writing is not None:
            await asyncio.wait({self._writing}, timeout=_LONGEST_VISIT_SECONDS)
        if self._is_involved:
            await self._visit(is_leaving=True)

    def hear(self, news: News) -> None:
        if topic_of(self._provider) in news.configured and news is not self._own_news and self._is_involved:
            self._wanted.set()

    def state(self) -> LimitState:
        shares = self._turnstile.shares()
        return LimitState(
            not self._is_on_its_own,
            shares.get(Unit.REQUESTS),
            shares.get(Unit.TOKENS),
            self._taken.processes,
        )

    @property
    def _is_involved(self) -> bool:
        return any(self._taken.shares.values()) or self._turnstile.waiting > 0

    def _look(self) -> None:
        """Whether the database is to be visited now. Called after each change in the queue."""
        if self._is_visiting or self._is_on_its_own or self._wanted.is_set():
            return
        is_short = self._turnstile.lacks_share
        if (is_short and not self._told_short) or self._is_low() or self._has_to_give():
            self._wanted.set()
        self._told_short = self._told_short and is_short

    def _is_low(self) -> bool:
        """Half of what was held in reserve is used: more is fetched before anyone has to wait for it."""
        if not any(self._reserved.values()):
            return False
        demands = self._turnstile.demands()
        shares = self._turnstile.shares()
        return any(
            2 * ((shares.get(unit) or 0) - demand.used) < self._reserved.get(unit, 0)
            for unit, demand in demands.items()
            if (shares.get(unit) or 0) < demand.limit
        )

    def _has_to_give(self) -> bool:
        """Others wait, and something has ended here: it has left our share already."""
        if not self._taken.is_contended:
            return False
        held = self._turnstile.shares()
        return any((held.get(unit) or 0) < share for unit, share in self._taken.shares.items())

    def _patience(self) -> float | None:
        """None: until something happens."""
        if self._is_on_its_own:
            return self._pace.poll_seconds
        if not self._is_involved:
            return None
        waits = [self._renew_at - clock.local_seconds()]
        if self._turnstile.lacks_share:
            waits.append(self._pace.poll_seconds)
        if self._taken.is_contended:
            waits.append(self._turnstile.seconds_until_room())
        return max(0.0, min(waits))

    async def _visit(self, *, is_leaving: bool = False) -> bool:
        """Whether the database could be used."""
        self._is_visiting = True
        try:
            if not self._is_on_its_own:
                self._turnstile.freeze()
            began, visit = clock.local_seconds(), self._say(is_leaving=is_leaving)
            taken = await self._written(visit)
        except Exception as error:  # noqa: BLE001 - whatever it is, calls must not wait for ever; it is logged
            self._go_on_without(error)
        else:
            self._hold(visit, taken, began)
            return True
        finally:
            self._is_visiting = False
        return False

    def _say(self, *, is_leaving: bool) -> Visit:
        pace, process_id = self._pace, self._database.process_id
        demands = self._turnstile.demands()
        return Visit(self._provider, process_id, demands, pace.lease_seconds, pace.minute_seconds, is_leaving)

    async def _written(self, visit: Visit) -> Taken:
        """Raises TimeoutError, also while an older visit may yet be committed: it would undo a newer one."""
        if self._writing is None or self._writing.done():
            writing = self._database.write(lambda session: self._take(session, visit))
            self._writing = asyncio.ensure_future(writing)
            await asyncio.wait({self._writing}, timeout=_LONGEST_VISIT_SECONDS)
            if self._writing.done():
                return self._writing.result()
        raise TimeoutError

    def _take(self, session: Session, visit: Visit) -> Taken:
        taken = take(session, visit)
        self._own_news = news_of(session)
        return taken

    def _hold(self, visit: Visit, taken: Taken, began: float) -> None:
        if self._is_on_its_own:
            log.info("limits.shared_again", provider=self._provider)
        self._is_on_its_own = False
        self._taken = taken
        self._lease_ends = began + self._pace.lease_seconds
        self._renew_at = began + self._pace.lease_seconds / 3
        wanted = {unit: demand.used + demand.waiting for unit, demand in visit.demands.items()}
        self._reserved = {unit: max(0, share - wanted[unit]) for unit, share in taken.shares.items()}
        self._turnstile.hold(taken.shares, until=self._lease_ends, is_tight=taken.is_contended)
        # Who came while it was under way is not told yet.
        has_told = any(demand.waiting for demand in visit.demands.values())
        self._told_short = has_told and self._turnstile.lacks_share

    def _go_on_without(self, error: Exception) -> None:
        """Frozen while the lease lasts, since nobody knows what was committed; from then on by itself."""
        if clock.local_seconds() < self._lease_ends or self._is_on_its_own:
            return
        log.warning("limits.on_its_own", provider=self._provider, exc_info=error)
        self._is_on_its_own = True
        self._turnstile.hold({})


class SharedLimits:
    """The limits of all providers that this process calls, shared while it is `running`."""

    def __init__(self, database: Database, pace: Pace | None = None) -> None:
        self._database, self._pace = database, pace or Pace()
        self._keepers: dict[str, ShareKeeper] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_running = False

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        unsubscribe = self._database.noticeboard.subscribe(self._hear)
        self._is_running = True
        try:
            yield
        finally:
            self._is_running = False
            unsubscribe()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await asyncio.gather(*(keeper.leave() for keeper in self._keepers.values()))

    def keep(self, provider: str, turnstile: Turnstile) -> None:
        if keeper := self._keepers.get(provider):
            keeper.review()
        elif self._is_running and turnstile.demands():
            keeper = self._keepers[provider] = ShareKeeper(self._database, provider, turnstile, self._pace)
            self._tasks.add(asyncio.create_task(keeper.keep()))

    def state_of(self, provider: str) -> LimitState | None:
        """None: this process has not called it, or it has no limits a minute."""
        keeper = self._keepers.get(provider)
        return keeper.state() if keeper else None

    def _hear(self, news: News) -> None:
        for keeper in self._keepers.values():
            keeper.hear(news)
