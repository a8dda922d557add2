"""The worker of one lane: take free slots, claim, run without a transaction, end what has ended.

One loop owns the rows' life in the database; each claimed row runs in a task of its own. Nothing is lost when any of
this is cut short: what is not ended stays leased, and the lease runs out.
"""

import asyncio
import contextvars
import math
import random
from collections import Counter
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice

import structlog
from sqlalchemy.exc import DBAPIError

from app import clock
from app.announcements import News
from app.database import Database
from app.errors import LeaseLost, LLMApiError, LLMError, LLMTimeout, ServiceUnavailable
from app.llm.attempts import Attempt
from app.llm.ledger.lane_books import Books, JobRecorder
from app.worker import lease
from app.worker.cycle import (
    Cycle,
    Dropped,
    Ending,
    GivenBack,
    Outcome,
    Plan,
    Settled,
    account_of,
    run_cycle,
    take_back,
)
from app.worker.lane import Lane, Work
from app.worker.retry import Fail, RetryPolicy, decide

log = structlog.get_logger()
_DATABASE_PAUSE_SECONDS = 1.0
_SWEEP_SECONDS = 0.2  # at the most between two looks for what became due, while there is something to claim
# Calls that take long begin so many at a time: those that begin together end together, and their slots stand idle
# until all of them have been written.
_BEGIN_TOGETHER = 16
_BRIEF_SECONDS = 0.01
_SPEND_MARGIN = 0.1  # of the lease: within it, no new call leaves
_CANCEL_GRACE_SECONDS = 2.0
_GIVE_UP_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """All in seconds; `poll` is the safety net under a missed wake-up, `drain` bounds a graceful stop."""

    lease_seconds: float = 30
    poll_seconds: float = 5
    drain_seconds: float = 20
    retry: RetryPolicy = field(default_factory=RetryPolicy)


@dataclass(slots=True, eq=False)
class _Job:
    """A row in work; times by the local clock. `lease_ends` was taken before the claim was sent: never too late.

    At `ends_by` the work is cut off: the lane's own deadline should have ended it long before. Past `overdue_at` the
    lease is no longer extended.
    """

    work: Work
    lease_ends: float
    ends_by: float
    overdue_at: float
    task: asyncio.Task[Outcome] = field(init=False)
    cancelled_as: Outcome | None = None

    @property
    def is_running(self) -> bool:
        return self.cancelled_as is None and not self.task.done()

    def cancel(self, outcome: Outcome) -> None:
        """End the work early; the first reason given is the one that counts."""
        self.cancelled_as = self.cancelled_as or outcome
        self.task.cancel()


class Worker:
    """Works one lane until stopped."""

    def __init__(self, database: Database, lane: Lane, settings: WorkerSettings, *, books: Books | None = None) -> None:
        self._database, self._lane, self._settings = database, lane, settings
        self._books = books or Books(database)
        self._owner = database.process_id
        self._jobs: dict[tuple[str, int], _Job] = {}
        self._endings: list[Ending] = []
        self._wake = asyncio.Event()
        self._has_news, self._is_brief = False, True
        self._stopping = False
        self._drain_ends: float | None = None
        self._due_at: float | None = None
        self._sweep_at, self._sweep_is_owed = 0.0, False
        # A cycle and a beat lock the same rows in different orders: together they would deadlock on PostgreSQL.
        self._turn = asyncio.Lock()
        self.counts: Counter[str] = Counter()

    @property
    def in_flight(self) -> int:
        return len(self._jobs)

    async def run(self) -> None:
        """Work until `stop` and everything in flight has ended or was released."""
        unsubscribe = self._database.noticeboard.subscribe(self._hear)
        try:
            # Together, so that a worker whose beat has died does not go on: its leases would run out under it.
            async with asyncio.TaskGroup() as group:
                beats = group.create_task(self._beat_forever())
                await self._cycle_until_done()
                beats.cancel()
        finally:
            unsubscribe()
            await self._release_all()  # of a worker that died: its calls must not go on when another takes its rows

    async def _cycle_until_done(self) -> None:
        is_woken = True
        while not self._is_done():
            is_due = clock.local_seconds() >= self._sweep_at
            if self._has_news and is_due and not self._sweep_is_owed:
                # What has just come in does not wait for the sweep, once: or under load it would never come.
                await self._cycle(sweep=False)
                self._sweep_is_owed = True
            cycle = await self._cycle(sweep=is_due, looks_first=not is_woken)
            is_woken = True
            if cycle is None:
                await self._pause(_DATABASE_PAUSE_SECONDS)
            elif self._may_rest(cycle):
                is_woken = await self._pause(self._patience())

    def _may_rest(self, cycle: Cycle) -> bool:
        has_more = len(cycle.claimed) == _BEGIN_TOGETHER and self._want(self._free()) > 0
        is_over = self._stopping and not self._jobs
        return not (self._endings or has_more or is_over)

    async def run_once(self) -> None:
        """Claim what is ready and come back when it, and what it led to at once, has ended; for tests."""
        while True:
            cycle = await self._cycle()
            if cycle is not None and not cycle.claimed and not self._jobs and not self._endings:
                return
            if cycle is None or not self._endings:
                await self._pause(_DATABASE_PAUSE_SECONDS)

    def stop(self, *, at_once: bool = False) -> None:
        """Claim nothing more; what is in flight may end until the drain is over, or is released at once."""
        self._stopping = True
        ends = clock.local_seconds() + (0 if at_once else self._settings.drain_seconds)
        self._drain_ends = min(self._drain_ends or ends, ends)
        self._wake.set()

    async def reclaim_everything(self) -> None:
        """At start, when it is known that no other worker lives: every lease is a dead one's."""
        lost = await self._database.write(lambda session: take_back(session, self._lane, everything=True))
        if lost.ids:
            log.info("worker.reclaimed_rows", lane=self._lane.name, rows=len(lost.ids), poisoned=len(lost.poisoned))

    async def _cycle(self, *, sweep: bool = True, looks_first: bool = False) -> Cycle | None:
        """One transaction; null when the database could not be used, and then nothing is forgotten.

        `looks_first`: nothing is known to have happened, so none where a look finds nothing to do.
        """
        self._end_overdue()
        endings, self._endings = self._endings, []
        want = self._want(self._free() + len(endings))
        self._has_news = False
        if not endings and not want:
            self._due_at = None
            return Cycle()
        began = clock.local_seconds()
        plan = Plan(self._owner, self._settings.lease_seconds, endings, want, sweep)
        try:
            if sweep and self._may_have_lost_leases():
                # Or the sweep would take back our own rows, whose calls go on: after an outage, or a stopped process.
                await self._beat()
            cycle = await self._look() if looks_first and not endings else None
            if cycle is None:
                async with self._turn:
                    cycle = await self._write(plan)
        except ServiceUnavailable as error:
            # All of them: a lost lease is for the fence to find out, and the books must be written in any case.
            self._endings[:0] = endings
            log.warning("worker.database_unavailable", lane=self._lane.name, exc_info=error.__cause__ or error)
            return None
        self._note(plan, cycle)
        loop = asyncio.get_running_loop()
        for work in cycle.claimed:
            self._start(work, began, cycle.booked.get(work.id), loop)
        return cycle

    def _may_have_lost_leases(self) -> bool:
        now = clock.local_seconds()
        return any(job.lease_ends <= now < job.overdue_at and not job.task.done() for job in self._jobs.values())

    def _free(self) -> int:
        return self._lane.slots - len(self._jobs)

    def _want(self, free: int) -> int:
        if self._stopping:
            return 0
        return max(0, self._lane.allowance(free if self._is_brief else min(free, _BEGIN_TOGETHER)))

    async def _look(self) -> Cycle | None:
        outlook = await self._database.read(partial(lease.look, work=self._lane.work_table))
        return None if outlook.is_due else Cycle(due_in_seconds=outlook.due_in_seconds)

    async def _write(self, plan: Plan) -> Cycle:
        try:
            return await self._database.write(partial(run_cycle, lane=self._lane, plan=plan))
        except DBAPIError:
            careful = replace(plan, one_by_one=True)
            return await self._database.write(partial(run_cycle, lane=self._lane, plan=careful))

    def _note(self, plan: Plan, cycle: Cycle) -> None:
        for ending in plan.endings:
            self._jobs.pop((ending.work.id, ending.work.claim_seq), None)
        self.counts.update(claimed=len(cycle.claimed), reclaimed=cycle.reclaimed, late=len(cycle.late))
        ended: dict[str, list[str]] = {}
        for row in cycle.ended:
            ended.setdefault(row.status, []).append(row.id)
        for status, ids in ended.items():
            self.counts[status] += len(ids)
            # A line for all of them: a line each would cost more than the work on them.
            log.info("items.ended_work", lane=self._lane.name, status=status, items=ids)
        for work in cycle.late:
            log.info("item.dropped_late_result", lane=self._lane.name, item_id=work.id)
        now = clock.local_seconds()
        self._due_at = None if cycle.due_in_seconds is None else now + cycle.due_in_seconds
        if plan.want:
            self._sweep_is_owed = self._sweep_is_owed and not plan.sweep
            swept_at = now if plan.sweep else self._sweep_at - _SWEEP_SECONDS
            self._sweep_at = min(swept_at + _SWEEP_SECONDS, self._due_at or math.inf)

    def _start(self, work: Work, claimed_at: float, booked: Attempt | None, loop: asyncio.AbstractEventLoop) -> None:
        ends_by = claimed_at + self._lane.deadline_seconds
        lease_seconds = self._settings.lease_seconds
        job = _Job(work, claimed_at + lease_seconds, ends_by, ends_by + lease_seconds)
        margin = lease_seconds * _SPEND_MARGIN

        def may_spend() -> bool:
            return job.cancelled_as is None and clock.local_seconds() < job.lease_ends - margin

        # Not kept in the job: the two would hold each other until the collector finds them.
        recorder = JobRecorder(self._books, account_of(self._lane, work), may_spend, booked=booked)
        self._jobs[work.id, work.claim_seq] = job
        # A context of its own: what one item binds for its log lines must not reach another's.
        job.task = loop.create_task(self._run(work, recorder), context=contextvars.Context())
        # Not in _run's finally: a task that is cancelled before its first step never gets there.
        job.task.add_done_callback(partial(self._job_done, job, recorder))

    async def _run(self, work: Work, recorder: JobRecorder) -> Outcome:
        structlog.contextvars.bind_contextvars(item_id=work.id, attempt=work.attempt)
        began = clock.local_seconds()
        try:
            result = await self._lane.run(work, recorder)
            self._is_brief = clock.local_seconds() - began < _BRIEF_SECONDS
            return Settled(result)
        except LeaseLost:
            return Dropped()
        except ServiceUnavailable:
            return GivenBack(_DATABASE_PAUSE_SECONDS, attempt_returned=True)
        except LLMError as error:
            return self._after_fault(work, error)
        except Exception:
            log.exception("item.work_crashed", lane=self._lane.name)
            return self._after_fault(work, LLMApiError())

    def _after_fault(self, work: Work, error: LLMError) -> Settled | GivenBack:
        decision = decide(error, attempt=work.attempt, policy=self._settings.retry, luck=random.random())  # noqa: S311
        if isinstance(decision, Fail):
            log.error("item.failed", code=error.code, http_status=error.http_status)
            return Settled(self._lane.failure(error))
        log.warning("item.deferred", code=error.code, http_status=error.http_status, seconds=decision.delay_seconds)
        return GivenBack(decision.delay_seconds, decision.attempt_returned, decision.to_tail, error.code)

    def _job_done(self, job: _Job, recorder: JobRecorder, task: asyncio.Task[Outcome]) -> None:
        outcome: Outcome
        if task.cancelled():
            outcome = job.cancelled_as or GivenBack(None, attempt_returned=True)
        elif (crash := task.exception()) is not None:
            log.error("item.work_crashed", lane=self._lane.name, item_id=job.work.id, exc_info=crash)
            outcome = Settled(self._lane.failure(LLMApiError()))
        else:
            outcome = task.result()
        self._endings.append(Ending(job.work, outcome, recorder.end()))
        self._wake.set()

    def _hear(self, news: News) -> None:
        if news.wakes(self._lane.work_table.table.name):
            self._has_news = True
            self._wake.set()
        if news.stopped:
            for (item_id, _), job in self._jobs.items():
                if item_id in news.stopped:
                    # News are a hint: should the row still be ours, it goes back; else the fence drops this.
                    job.cancel(GivenBack(None, attempt_returned=True))

    def _patience(self) -> float:
        """How long to wait for a wake-up: until something is known to become due, and never longer than the poll."""
        now = clock.local_seconds()
        waits = [self._settings.poll_seconds]
        # All have the same time, so the first of those that run is the first to run out of it.
        waits.extend(islice((job.ends_by - now for job in self._jobs.values() if job.is_running), 1))
        if self._due_at is not None and self._free() > 0:
            waits.append(self._due_at - now)
        closed = self._lane.seconds_until_open()
        if closed > 0:
            waits.append(closed)
        if self._drain_ends is not None:
            waits.append(self._drain_ends - now)
        return max(0.0, min(waits))

    def _end_overdue(self) -> None:
        now = clock.local_seconds()
        for job in self._jobs.values():
            if job.ends_by > now:
                return
            if job.is_running:
                with structlog.contextvars.bound_contextvars(item_id=job.work.id, attempt=job.work.attempt):
                    job.cancel(self._after_fault(job.work, LLMTimeout()))

    async def _pause(self, seconds: float) -> bool:
        """Whether something woke us before that."""
        if self._drain_ends is not None and clock.local_seconds() >= self._drain_ends:
            await self._release_all()
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            return False
        self._wake.clear()
        return True

    async def _release_all(self) -> None:
        """The drain is over: cancel what is in flight; the rows go back to the queue with their attempts."""
        for job in self._jobs.values():
            job.cancel(GivenBack(None, attempt_returned=True))
        if tasks := [job.task for job in self._jobs.values()]:
            await asyncio.wait(tasks, timeout=_CANCEL_GRACE_SECONDS)

    def _is_done(self) -> bool:
        if not self._stopping or self._drain_ends is None:
            return False
        if not self._jobs and not self._endings:
            return True
        if clock.local_seconds() < self._drain_ends + _GIVE_UP_SECONDS:
            return False
        # The database stayed away or a call would not be cancelled: the leases of these rows will run out.
        log.error("worker.left_rows_leased", lane=self._lane.name, rows=len(self._jobs))
        return True

    async def _beat_forever(self) -> None:
        """Extend the leases of all rows in flight together; those that are gone are cancelled."""
        while True:
            await clock.sleep(self._settings.lease_seconds / 4)
            if self._jobs:
                try:
                    await self._beat()
                except ServiceUnavailable:
                    log.warning("worker.beat_missed", lane=self._lane.name, rows=len(self._jobs))

    async def _beat(self) -> None:
        seconds = self._settings.lease_seconds
        async with self._turn:
            began = clock.local_seconds()
            held = [key for key, job in self._jobs.items() if began < job.overdue_at]
            beat = partial(lease.beat, work=self._lane.work_table, held=held, lease_seconds=seconds)
            kept = await self._database.write(beat)
        for key in held:
            job = self._jobs.get(key)
            if job is None or job.task.done():
                continue
            if key in kept:
                job.lease_ends = began + seconds
            else:
                log.warning("item.lost_lease", lane=self._lane.name, item_id=job.work.id)
                job.cancel(Dropped())
