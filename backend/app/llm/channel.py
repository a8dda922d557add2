"""From one run, which may begin anew, to one reader: the pieces of an answer in order, and its end.

Invariant: what the reader holds since the last Restarted is a beginning of the answer that is under way.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import replace
from typing import Any

from app.llm.call import Completion, Delta, Finished, Restarted, StreamEvent, ToolCallDelta
from app.llm.pursuit import Try


class Channel:
    """Used once, on one loop."""

    def __init__(self) -> None:
        self._events: asyncio.Queue[StreamEvent | None] = asyncio.Queue()
        self._has_passed_on = False
        self._current: Try | None = None

    def begin(self, attempt: Try) -> Callable[[Delta], None]:
        """A try begins: where pieces of an earlier one may have been read, the reader is told to drop them."""
        self._current = attempt
        while not self._events.empty():
            self._events.get_nowait()
        if self._has_passed_on:
            self._events.put_nowait(Restarted(attempt.candidate.name))

        def emit(delta: Delta) -> None:
            if self._current is attempt:  # else it was still on its way when its try had ended
                attempt.has_begun = True
                self._events.put_nowait(replace(delta, model=attempt.candidate.name))

        return emit

    def pass_on(self, whole: Completion) -> None:
        """An answer that is there already, as one piece."""
        calls = tuple(
            ToolCallDelta(place, call.id, call.name, call.arguments) for place, call in enumerate(whole.tool_calls)
        )
        self._events.put_nowait(Delta(whole.content, calls))

    async def events_of(self, run: Coroutine[Any, Any, Completion]) -> AsyncIterator[StreamEvent]:
        """The events of `run`, Finished last; raises what it raises. Whoever stops reading ends it."""
        running = asyncio.ensure_future(run)
        running.add_done_callback(lambda _: self._events.put_nowait(None))
        try:
            while (event := await self._events.get()) is not None:
                self._has_passed_on = True
                yield event
            yield Finished(running.result())
        finally:
            running.cancel()
            # Its attempt is settled, and its call dropped upstream, before the reader goes on.
            await asyncio.wait({running})
            if not running.cancelled():
                running.exception()
