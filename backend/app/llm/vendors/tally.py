"""Keeps the books of one run in step with what happens on another loop.

Invariants: an attempt is open in the recorder before its call leaves, and settled exactly once; the recorder
and the provider's queue are only ever touched on the application's loop. An answer counts as good until a re-ask
or the end of the run says otherwise, because only then is it known.
"""

import asyncio

from app.errors import LLMError, LLMInvalidAnswer
from app.llm.attempts import Attempt, AttemptOutcome, AttemptRecorder, Usage
from app.llm.traffic.limits import Ticket, Turnstile


class RunTally:
    """To be made on the application's loop. `open`, `report_left` and `report_answer` are for the other loop.

    Each attempt passes the `turnstile` first, where its provider has limits; `tokens` is what it may use up there.
    """

    def __init__(
        self,
        recorder: AttemptRecorder,
        *,
        provider: str,
        model: str,
        turnstile: Turnstile | None = None,
        tokens: int = 0,
    ) -> None:
        self._recorder = recorder
        self._provider = provider
        self._model = model
        self._turnstile, self._tokens = turnstile, tokens
        self._loop = asyncio.get_running_loop()
        self._is_free = asyncio.Event()
        self._is_free.set()
        self._entering: asyncio.Task[Ticket] | None = None
        self._ticket: Ticket | None = None
        self._current: Attempt | None = None
        self._usage: Usage | None = None
        self._has_ended = False
        # Held up at the turnstile, or given up there: the silence is not the model's. Read from either thread.
        self.is_queued = False

    async def open(self) -> str:
        """Put the next attempt on the books; its id. Raises what the recorder raises, LeaseLost above all."""
        opening = asyncio.run_coroutine_threadsafe(self._open(), self._loop)
        try:
            # The shield: a cancellation must not break off the recorder's commit, `cancel` waits for it instead.
            return await asyncio.shield(asyncio.wrap_future(opening))
        except asyncio.CancelledError:
            self._loop.call_soon_threadsafe(self._stop_waiting)
            raise

    def report_left(self) -> None:
        """The request of the current attempt is on its way."""
        if self._ticket is not None:
            self._loop.call_soon_threadsafe(self._ticket.left)

    def report_first_token(self) -> None:
        """The answer to the current attempt has begun."""
        self._loop.call_soon_threadsafe(self._note_first_token)

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
        self._end()

    async def cancel(self) -> None:
        """The caller left. An opening under way is waited for, so that no attempt stays open unseen."""
        self._end()
        await self._is_free.wait()
        self._settle(AttemptOutcome.CANCELLED if self._usage is None else AttemptOutcome.OK)

    def _end(self) -> None:
        self._has_ended = True
        self._stop_waiting()

    async def _open(self) -> str:
        self._settle(AttemptOutcome.INVALID, LLMInvalidAnswer.code)
        await self._pass_turnstile()
        if self._has_ended:
            self._end_ticket()
            raise asyncio.CancelledError
        self._is_free.clear()
        try:
            attempt = await self._recorder.open(provider=self._provider, model=self._model)
            attempt.begin()
            self._current = attempt
        finally:
            if self._current is None:
                self._end_ticket()
            self._is_free.set()
        return attempt.id

    async def _pass_turnstile(self) -> None:
        if self._turnstile is None or self._has_ended:
            return
        self.is_queued = True
        self._entering = asyncio.ensure_future(self._turnstile.enter(self._tokens))
        try:
            self._ticket = await self._entering
            self.is_queued = False
        finally:
            self._entering = None

    def _stop_waiting(self) -> None:
        if self._entering is not None:
            self._entering.cancel()

    def _note_first_token(self) -> None:
        if self._current is not None:
            self._current.note_first_token()

    def _note_answer(self, usage: Usage) -> None:
        if not self._has_ended:
            self._usage = usage

    def _settle(self, outcome: AttemptOutcome, error_code: str | None = None) -> None:
        attempt, usage = self._current, self._usage
        self._current = self._usage = None
        if attempt is not None:
            attempt.settle(outcome, usage=usage, error_code=error_code)
            self._recorder.close(attempt)
            # Not always were we told that it left: taken as left, it only counts too long.
            self._end_ticket(usage, has_left=True)

    def _end_ticket(self, usage: Usage | None = None, *, has_left: bool = False) -> None:
        ticket, self._ticket = self._ticket, None
        if ticket is None:
            return
        if has_left:
            ticket.left()
        is_counted = usage is not None and usage.input_tokens is not None and usage.output_tokens is not None
        ticket.end(tokens=usage.total_tokens if usage is not None and is_counted else None)
