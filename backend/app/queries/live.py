"""Calls whose answer an open request passes on: streamed queries and chat completions.

A streamed query is a row that is born leased for as long as the call may take: should the process die, the lease runs
out, and the lane takes the row over. A chat completion has no row, only a line while there is a quota; the gateway
keeps its books. The work runs in a task of its own: a request that is cut off ends it, and it puts the row and the
books in order before it is gone.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from functools import partial
from typing import Any

import structlog

from app.announcements import News
from app.clock import local_seconds
from app.database import Database
from app.errors import LeaseLost, LLMApiError, LLMError, LLMTimeout, QueryCancelled, ServiceUnavailable
from app.llm.attempts import AttemptRecorder
from app.llm.call import Finished, StreamEvent
from app.llm.ledger.lane_books import Books, JobRecorder
from app.queries import quota as quotas
from app.queries import service
from app.queries.asking import done, failed
from app.queries.lane import QueryLane
from app.queries.query_model import QueryStatus
from app.queries.quota import QueryQuota
from app.worker.cycle import Ending, GivenBack, Outcome, Plan, Settled, account_of, run_cycle
from app.worker.lane import Work

log = structlog.get_logger()
_LEASE_MARGIN_SECONDS = 30
_SILENCE_SECONDS = 15.0
Source = Callable[[], AsyncGenerator[StreamEvent]]
_INTERRUPTED = GivenBack(None, attempt_returned=False)
_LEFT = Settled({"status": QueryStatus.CANCELLED})
_STOPPING = "The server is stopping; ask again in a moment."


class LiveCalls:
    """Of a process, on its loop."""

    def __init__(self, database: Database, lane: QueryLane, quota: QueryQuota, *, drain_seconds: float) -> None:
        self._database, self._lane, self._drain_seconds = database, lane, drain_seconds
        self._quota = quota
        self._books = Books(database)
        self._calls: dict[str, LiveCall] = {}
        database.noticeboard.subscribe(self._hear)

    async def begin_query(
        self, user_id: str, request: dict[str, Any], source: Callable[[AttemptRecorder], AsyncGenerator[StreamEvent]]
    ) -> "LiveCall":
        """Store the row, then ask. Raises ServiceUnavailable, and what `quota.take` raises."""
        seconds = self._lane.deadline_seconds
        born = partial(
            service.begin_leased,
            user_id=user_id,
            request=request,
            owner=self._database.process_id,
            lease_seconds=seconds + _LEASE_MARGIN_SECONDS,
            quota=self._quota,
        )
        work = await self._database.write(born)
        ends_by = local_seconds() + seconds
        recorder = JobRecorder(self._books, account_of(self._lane, work), lambda: local_seconds() < ends_by)
        return self._begin(LiveCall(work.id, partial(self._end, work, recorder)), partial(source, recorder))

    async def begin_chat(self, user_id: str, call_id: str, source: Source) -> "LiveCall":
        """Without a row. Raises ServiceUnavailable, and what `quota.take` raises."""
        if self._quota == quotas.UNLIMITED:
            return self._begin(LiveCall(call_id, _nothing_to_end), source)
        seconds = self._lane.deadline_seconds + _LEASE_MARGIN_SECONDS
        counted = partial(quotas.begin_chat, user_id=user_id, quota=self._quota, chat_id=call_id, seconds=seconds)
        await self._database.write(counted)
        return self._begin(LiveCall(call_id, partial(self._end_chat, call_id)), source)

    def _begin(self, call: "LiveCall", source: Source) -> "LiveCall":
        self._calls[call.id] = call
        call.start(source).add_done_callback(lambda _: self._calls.pop(call.id, None))
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
            call.cancel(_INTERRUPTED, ServiceUnavailable(_STOPPING))

    async def close(self) -> None:
        """Until the last row is in order."""
        self._interrupt()
        while self._calls:
            await asyncio.wait({call.task for call in self._calls.values()})

    async def _end(self, work: Work, recorder: JobRecorder, outcome: Outcome) -> None:
        ending = Ending(work, outcome, recorder.end())
        plan = Plan(self._database.process_id, 0, [ending])
        await self._database.write(partial(run_cycle, lane=self._lane, plan=plan))

    async def _end_chat(self, call_id: str, _outcome: Outcome) -> None:
        """An answer that is there is given: where the database is away, the chat only counts too long."""
        if not self._quota.at_once:
            return
        try:
            await self._database.write(partial(quotas.end_chat, chat_id=call_id))
        except ServiceUnavailable as error:
            log.warning("chat.counts_too_long", query_id=call_id, exc_info=error)

    def _hear(self, news: News) -> None:
        for query_id in news.stopped & self._calls.keys():
            self._calls[query_id].cancel(_LEFT, QueryCancelled())


class LiveCall:
    """One of them, read by `next` until its end."""

    task: asyncio.Task[None]

    def __init__(self, call_id: str, end: Callable[[Outcome], Awaitable[None]]) -> None:
        self.id = call_id
        self._end = end
        self._events: asyncio.Queue[StreamEvent | Exception] = asyncio.Queue()
        self._cancelled_as: tuple[Outcome, Exception] = (_LEFT, QueryCancelled())

    def start(self, source: Source) -> asyncio.Task[None]:
        self.task = asyncio.create_task(self._run(source))
        # A task that is cancelled before its first step never gets to its own end.
        self.task.add_done_callback(lambda _: self._events.put_nowait(ServiceUnavailable(_STOPPING)))
        return self.task

    def give_back_when_left(self) -> None:
        self._cancelled_as = _INTERRUPTED, ServiceUnavailable(_STOPPING)

    def cancel(self, outcome: Outcome, told: Exception) -> None:
        self._cancelled_as = outcome, told
        self.task.cancel()

    def leave(self) -> None:
        """Nobody reads any more. Without effect when the call has ended."""
        self.task.cancel()

    async def next(self) -> StreamEvent | None:
        """Finished is the last, when the row is in order; None after a while of silence.

        Raises LLMError, ApiError.
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
            async with aclosing(source()) as events:
                async for event in events:
                    if isinstance(event, Finished):
                        return event
                    self._events.put_nowait(event)
        except LLMError as fault:
            return fault
        return LLMApiError()


async def _nothing_to_end(_outcome: Outcome) -> None:
    """There is no row."""


def _columns(last: Finished | LLMError) -> dict[str, Any]:
    if isinstance(last, LLMError):
        return failed(last)
    completion = last.completion
    return done(completion.content, completion.finish_reason, completion.receipt)
