"""Reads one stream of a vendor to its end, with a limit to its silences.

Invariant: a stream without a finish reason was cut off, however politely it ended; what came of it is no answer.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

from app.errors import LLMContentRefused, LLMInvalidAnswer, LLMUnreachable
from app.llm.call import Delta
from app.llm.extraction import Inquiry, ModelFacts
from app.llm.vendors.answer import Assembly, VendorAnswer
from app.llm.vendors.tally import RunTally

# A model that goes on beyond this does not answer us.
_LONGEST_ANSWER_CHARACTERS = 4_000_000
# The answer is whole: only its usage may still come.
_USAGE_SECONDS = 2.0


class StreamReading:
    """Of one try; used once."""

    def __init__(self, inquiry: Inquiry, tally: RunTally, facts: ModelFacts, emit: Callable[[Delta], None]) -> None:
        self._inquiry, self._tally, self._facts, self._emit = inquiry, tally, facts, emit
        self._assembly = Assembly()
        self._has_begun = False

    async def read(self, send: Callable[[], Awaitable[Any]]) -> VendorAnswer | Exception:
        """The whole answer. Raises TimeoutError after a silence, and whatever the vendor's code does about a break."""
        async with asyncio.timeout(self._inquiry.first_token_seconds) as silence:
            response = await send()
            try:
                # The inner stream: litellm's own makes up an end for one that was cut off, and counts tokens itself.
                async for chunk in response.completion_stream:
                    self._take(chunk, silence)
                    if self._assembly.size > _LONGEST_ANSWER_CHARACTERS:
                        return LLMInvalidAnswer()
            finally:
                with contextlib.suppress(Exception):
                    await response.aclose()
        return self.whole_so_far() or LLMUnreachable()

    def whole_so_far(self) -> VendorAnswer | Exception | None:
        """The answer if it was whole before the stream ended or broke; None when it is not."""
        assembly = self._assembly
        if assembly.finish_reason is None:
            return None
        answer = assembly.whole(self._facts)
        self._tally.report_answer(answer.usage)
        if assembly.is_refused:
            return LLMContentRefused()
        return answer if answer.content or answer.tool_calls else LLMInvalidAnswer()

    def _take(self, chunk: Any, silence: asyncio.Timeout) -> None:  # noqa: ANN401 - the vendor's
        now = asyncio.get_running_loop().time()
        delta = self._assembly.add(chunk, self._facts)
        if self._assembly.finish_reason is not None:
            silence.reschedule(now + min(_USAGE_SECONDS, self._inquiry.stall_seconds))
        elif delta is not None:
            silence.reschedule(now + self._inquiry.stall_seconds)
        if delta is None:
            return
        if not self._has_begun:
            self._has_begun = True
            self._tally.report_first_token()
        self._emit(delta)
