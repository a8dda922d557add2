"""Keeps the books of one run in step with what happens on another loop.

Invariants: an attempt is open in the recorder before its call leaves, and settled exactly once; the recorder
is only ever touched on the application's loop. An answer counts as good until a re-ask or the end of the run
says otherwise, because only then is it known.
"""

import asyncio

from app.errors import LLMError, LLMInvalidAnswer
from app.llm.attempts import Attempt, AttemptOutcome, AttemptRecorder, Usage


class RunTally:
    """To be made on the application's loop. `open` and `report_answer` are for the other loop."""

    def __init__(self, recorder: AttemptRecorder, *, provider: str, model: str) -> None:
        self._recorder = recorder
        self._provider = provider
        self._model = model
        self._loop = asyncio.get_running_loop()
        self._is_free = asyncio.Event()
        self._is_free.set()
        self._current: Attempt | None = None
        self._usage: Usage | None = None
        self._has_ended = False

    async def open(self) -> str:
        """Put the next attempt on the books; its id. Raises what the recorder raises, LeaseLost above all."""
        opening = asyncio.run_coroutine_threadsafe(self._open(), self._loop)
        # The shield: a cancellation must not break off the recorder's commit, `cancel` waits for it instead.
        return await asyncio.shield(asyncio.wrap_future(opening))

    def report_answer(self, usage: Usage) -> None:
        """The current attempt got an answer of this usage."""
        self._loop.call_soon_threadsafe(self._note_answer, usage)

    def succeed(self) -> None:
        self._settle(AttemptOutcome.OK)
        self._has_ended = True

    def fail(self, error: Exception) -> None:
        """The run ended with `error`, which is the outcome of the attempt that is still current."""
        code = error.code if isinstance(error, LLMError) else None
        is_invalid = isinstance(error, LLMInvalidAnswer)
        self._settle(AttemptOutcome.INVALID if is_invalid else AttemptOutcome.ERROR, code)
        self._has_ended = True

    async def cancel(self) -> None:
        """The caller left. An opening under way is waited for, so that no attempt stays open unseen."""
        self._has_ended = True
        await self._is_free.wait()
        self._settle(AttemptOutcome.CANCELLED if self._usage is None else AttemptOutcome.OK)

    async def _open(self) -> str:
        if self._has_ended:
            raise asyncio.CancelledError
        self._settle(AttemptOutcome.INVALID, LLMInvalidAnswer.code)
        self._is_free.clear()
        try:
            attempt = await self._recorder.open(provider=self._provider, model=self._model)
            self._current = attempt
        finally:
            self._is_free.set()
        return attempt.id

    def _note_answer(self, usage: Usage) -> None:
        if not self._has_ended:
            self._usage = usage

    def _settle(self, outcome: AttemptOutcome, error_code: str | None = None) -> None:
        attempt, usage = self._current, self._usage
        self._current = self._usage = None
        if attempt is not None:
            attempt.settle(outcome, usage=usage, error_code=error_code)
            self._recorder.close(attempt)
