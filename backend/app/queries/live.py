"""Calls whose answer an open request passes on: streamed queries and chat completions.

Each is a row that is born leased for as long as the call may take, so that its attempts go on the books under a fence
like all others and a crash leaves nothing open: the lease runs out, and the lane takes the row over. The work runs in a
task of its own: a request that is cut off ends it, and it puts the row and the books in order before it is gone.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from functools import partial
from typing import Any

import structlog

from app.announcements import News
from app.clock import local_seconds
from app.database import Database
from app.errors import LeaseLost, LLMApiError, LLMError, LLMInterrupted, LLMTimeout, ServiceUnavailable
from app.llm.attempts import AttemptRecorder
from app.llm.books import Books, JobRecorder
from app.llm.call import Finished, StreamEvent
from app.queries import service
from app.queries.asking import done, failed
from app.queries.lane import QueryLane
from app.queries.query_model import QueryStatus
from app.worker.cycle import Ending, GivenBack, Outcome, Plan, Settled, account_of, run_cycle
from app.worker.lane import Work

log = structlog.get_logger()
_LEASE_MARGIN_SECONDS = 30
_SILENCE_SECONDS = 15.0
Source = Callable[[AttemptRecorder], AsyncGenerator[StreamEvent]]
_INTERRUPTED = GivenBack(None, attempt_returned=False)
_LEFT = Settled({"status": QueryStatus.CANCELLED})


class LiveCalls:
    """Of a process, on its loop."""

    def __init__(self, database: Database, lane: QueryLane, *, drain_seconds: float) -> None:
        self._database, self._lane, self._drain_seconds = database, lane, drain_seconds
        self._books = Books(database)
        self._calls: dict[str, LiveCall] = {}
        database.noticeboard.subscribe(self._hear)

    async def begin(self, user_id: str, request: dict[str, Any] | None, source: Source) -> "LiveCall":
        """Store the row, then ask. `request` null: a chat completion. Raises ServiceUnavailable."""
        seconds = self._lane.deadline_seconds
        born = partial(
            service.begin_leased,
            user_id=user_id,
            request=request,
            owner=self._database.process_id,
            lease_seconds=seconds + _LEASE_MARGIN_SECONDS,
        )
        work = await self._database.write(born)
        ends_by = local_seconds() + seconds
        recorder = JobRecorder(self._books, account_of(self._lane, work), lambda: local_seconds() < ends_by)
        call = LiveCall(work, recorder, partial(self._end, work, recorder))
        self._calls[work.id] = call
        call.start(source).add_done_callback(lambda _: self._calls.pop(work.id, None))
        return call

    def stop(self, *, at_once: bool = False) -> None:
        """What is under way may end until the drain is over; then its row goes back to the queue."""
        for call in self._calls.values():
            call.give_back_when_left()  # the web server cuts requests off in its own time
        if at_once:
            self._interrupt()
        elif self._calls:
            asyncio.get_running_loop().call_later(self._drain_seconds, self._interrupt)

    def _interrupt(self) -> None:
        for call in tuple(self._calls.values()):
            call.cancel(_INTERRUPTED, LLMInterrupted())

    async def close(self) -> None:
        """Until the last row is in order."""
        self._interrupt()
        while self._calls:
            await asyncio.wait({call.task for call in self._calls.values()})

    async def _end(self, work: Work, recorder: JobRecorder, outcome: Outcome) -> None:
        ending = Ending(work, outcome, recorder.end())
        plan = Plan(self._database.process_id, 0, [ending])
        await self._database.write(partial(run_cycle, lane=self._lane, plan=plan))

    def _hear(self, news: News) -> None:
        for query_id in news.stopped & self._calls.keys():
            self._calls[query_id].cancel(_LEFT, LLMInterrupted())


class LiveCall:
    """One of them, read by `next` until its end."""

    task: asyncio.Task[None]

    def __init__(self, work: Work, recorder: JobRecorder, end: Callable[[Outcome], Any]) -> None:
        self.id = work.id
        self._recorder, self._end = recorder, end
        self._events: asyncio.Queue[StreamEvent | Exception] = asyncio.Queue()
        self._cancelled_as: tuple[Outcome, LLMError] = (_LEFT, LLMInterrupted())

    def start(self, source: Source) -> asyncio.Task[None]:
        self.task = asyncio.create_task(self._run(source))
        # A task that is cancelled before its first step never gets to its own end.
        self.task.add_done_callback(lambda _: self._events.put_nowait(LLMInterrupted()))
        return self.task

    def give_back_when_left(self) -> None:
        self._cancelled_as = _INTERRUPTED, LLMInterrupted()

    def cancel(self, outcome: Outcome, told: LLMError) -> None:
        self._cancelled_as = outcome, told
        self.task.cancel()

    @property
    def model(self) -> str | None:
        """The one that was asked last."""
        attempts = self._recorder.attempts
        return attempts[-1].model if attempts else None

    def leave(self) -> None:
        """Nobody reads any more. Without effect when the call has ended."""
        self.task.cancel()

    async def next(self) -> StreamEvent | None:
        """Finished is the last, when the row is in order; None after a while of silence.

        Raises LLMError, ServiceUnavailable.
        """
        try:
            async with asyncio.timeout(_SILENCE_SECONDS):
                event = await self._events.get()
        except TimeoutError:
            return None
        if isinstance(event, Exception):
            raise event
        return event

    async def finished(self) -> Finished:
        """The end, of whatever came before it. Raises as `next`."""
        while not isinstance(event := await self.next(), Finished):
            pass
        return event

    async def _run(self, source: Source) -> None:
        last: StreamEvent | Exception
        try:
            last = await self._pass_on(source)
            outcome: Outcome = Settled(_columns(last))
        except asyncio.CancelledError:
            outcome, last = self._cancelled_as
        except LeaseLost:
            last = LLMTimeout()
            outcome = Settled(failed(last))
        except ServiceUnavailable as error:
            outcome, last = _INTERRUPTED, error
        except Exception:
            log.exception("query.crashed", query_id=self.id)
            last = LLMApiError()
            outcome = Settled(failed(last))
        try:
            await self._end(outcome)
        except ServiceUnavailable as error:
            log.warning("query.not_ended", query_id=self.id, exc_info=error)
            last = error  # the lease runs out, and the lane ends it
        self._events.put_nowait(last)

    async def _pass_on(self, source: Source) -> Finished | LLMError:
        try:
            async with aclosing(source(self._recorder)) as events:
                async for event in events:
                    if isinstance(event, Finished):
                        return event
                    self._events.put_nowait(event)
        except LLMError as fault:
            return fault
        return LLMApiError()


def _columns(last: Finished | LLMError) -> dict[str, Any]:
    if isinstance(last, LLMError):
        return failed(last)
    completion = last.completion
    return done(completion.content, completion.finish_reason, completion.receipt)
