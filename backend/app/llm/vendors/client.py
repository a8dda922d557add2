"""The only file that imports litellm and instructor. They live on a thread and a loop of their own.

Invariants: one deadline holds over each run; what leaves here is a checked answer or an error of ours, never a
vendor's exception, text or log line. An import that failed is tried again, not remembered.
"""

import asyncio
import gc
import os
import sys
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog

from app import clock
from app.config import LLMSettings
from app.errors import LLMUnreachable
from app.llm.attempts import UNRECORDED, AttemptRecorder
from app.llm.call import Delta
from app.llm.extraction import Answer, Extraction, Inquiry, ModelFacts, provider_of
from app.llm.traffic.limits import Turnstile
from app.llm.vendors.answer import VendorAnswer
from app.llm.vendors.background_loop import BackgroundLoop
from app.llm.vendors.engine import Engine
from app.llm.vendors.logs import filters_kept_out, silence_vendor_loggers
from app.llm.vendors.tally import RunTally
from app.providers.provider import Provider

_log = structlog.get_logger(__name__)
T = TypeVar("T")

# Before litellm is imported: nothing from the network, no `.env` read behind our back, no log.
_ENVIRONMENT = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_MODE": "PRODUCTION",
    "LITELLM_LOG": "ERROR",
    # It would fetch pictures for vendors that take no address, and hold its whole loop until they are here.
    "MAX_IMAGE_URL_DOWNLOAD_SIZE_MB": "0",
}
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 1.0, 60.0


@dataclass(frozen=True, slots=True)
class Toll:
    """What each upstream call of a run passes before it leaves: the provider's queue, for so many tokens."""

    turnstile: Turnstile | None = None
    tokens: int = 0


FREE = Toll()


class LLMClient:
    """Asks models. To be used from the application's loop, which it never holds."""

    def __init__(self, settings: LLMSettings) -> None:
        self._settings = settings
        self._background = BackgroundLoop("llm-client")
        self._engine: Future[Engine] | None = None
        self._failed_starts = 0
        self._may_start_at = 0.0

    async def start(self) -> None:
        """Import the vendors on their own thread and pay the costs of first use. Safe to repeat.

        Raises LLMUnreachable when that failed, now or a moment ago: then a later use tries again.
        """
        await self._started()

    async def close(self) -> None:
        """Cancel what is under way, close the connections, end the thread. Safe to repeat."""
        engine, self._engine = self._engine, None
        if engine is not None and engine.done() and not engine.cancelled() and engine.exception() is None:
            await asyncio.wrap_future(self._background.submit(engine.result().close()))
        await self._background.stop()

    async def extract(
        self, request: Extraction[Answer], recorder: AttemptRecorder = UNRECORDED, toll: Toll = FREE
    ) -> Answer:
        """A checked answer, after at most `max_reasks` re-asks.

        Raises an LLMError, or what the recorder raised on opening an attempt, LeaseLost above all; then no
        call was made. On cancellation the call is dropped upstream and settled before the cancellation goes
        on.
        """
        engine = await self._started()
        tally = _tally(request.model, recorder, toll)
        return await self._run(tally, engine.extract(request, tally))

    async def complete(
        self, inquiry: Inquiry, recorder: AttemptRecorder = UNRECORDED, toll: Toll = FREE
    ) -> VendorAnswer:
        """A whole answer in free form. Raises as `extract` does."""
        engine = await self._started()
        tally = _tally(inquiry.model, recorder, toll)
        return await self._run(tally, engine.complete(inquiry, tally))

    async def stream(
        self,
        inquiry: Inquiry,
        emit: Callable[[Delta], None],
        recorder: AttemptRecorder = UNRECORDED,
        toll: Toll = FREE,
    ) -> VendorAnswer:
        """The whole answer, after `emit` was given its pieces, on this loop. Raises as `extract` does."""
        engine = await self._started()
        tally = _tally(inquiry.model, recorder, toll)
        loop = asyncio.get_running_loop()

        def hand_over(delta: Delta) -> None:
            loop.call_soon_threadsafe(emit, delta)

        return await self._run(tally, engine.stream(inquiry, tally, hand_over))

    async def facts(self, model: str, provider: Provider | None = None) -> ModelFacts:
        """What is known of the model; asks nobody. Without a provider it is one of the settings'."""
        engine = await self._started()
        return engine.facts(provider, model)

    def known_facts(self, provider: Provider, model: str) -> ModelFacts:
        """As `facts`, at once. Raises LLMUnreachable while the vendors' code is not there."""
        engine = self._engine
        if engine is None or not engine.done() or engine.cancelled() or engine.exception() is not None:
            raise LLMUnreachable
        return engine.result().facts(provider, model)

    async def _run(self, tally: RunTally, work: Coroutine[Any, Any, T | Exception]) -> T:
        run = self._background.submit(work)
        try:
            outcome = await asyncio.wrap_future(run)
        except asyncio.CancelledError:
            await tally.cancel()
            task = asyncio.current_task()
            if task is not None and not task.cancelling():
                raise LLMUnreachable from None  # not the caller was cancelled: the client was closed under it
            raise
        if isinstance(outcome, Exception):
            # A value until here: an error raised over there would carry the vendors' frames, and the note in
            # them.
            tally.fail(outcome)
            raise outcome
        tally.succeed()
        return outcome

    async def _started(self) -> Engine:
        if self._engine is None:
            if clock.local_seconds() < self._may_start_at:
                raise LLMUnreachable
            self._engine = self._background.submit(_start_engine(self._settings))
        starting = self._engine
        try:
            return await asyncio.shield(asyncio.wrap_future(starting))
        except Exception as error:  # noqa: BLE001 - an import may raise anything; it is logged with its traceback
            if self._engine is starting:
                self._engine = None
                self._note_failed_start(error)
            raise LLMUnreachable from None

    def _note_failed_start(self, error: Exception) -> None:
        pause = min(_FIRST_PAUSE_SECONDS * 2.0**self._failed_starts, _LONGEST_PAUSE_SECONDS)
        self._failed_starts += 1
        self._may_start_at = clock.local_seconds() + pause
        # Its type and place are ours to see; it comes from an import and holds nobody's text.
        _log.error("llm_client.start_failed", again_in_seconds=pause, exc_info=error)


def _tally(model: str, recorder: AttemptRecorder, toll: Toll) -> RunTally:
    return RunTally(recorder, provider=provider_of(model), model=model, turnstile=toll.turnstile, tokens=toll.tokens)


class _Vendors:
    """Their modules."""

    def __init__(self) -> None:
        # Here and not above: the import takes seconds and holds 130 MB, and the stub provider needs none of
        # it.
        import instructor  # noqa: PLC0415
        import litellm  # noqa: PLC0415
        from litellm._internal_context import is_internal_call  # noqa: PLC0415

        self.litellm: Any = litellm
        self.instructor: Any = instructor
        self.is_internal_call: ContextVar[bool] = is_internal_call


async def _start_engine(settings: LLMSettings) -> Engine:
    os.environ.update(_ENVIRONMENT)
    with _uncollected_garbage(), filters_kept_out():
        engine = Engine(settings, _Vendors())
        silence_vendor_loggers()
        try:
            await engine.warm_up()
        except BaseException:
            await engine.close()
            raise
    return engine


@contextmanager
def _uncollected_garbage() -> Iterator[None]:
    """No collection while the vendors are imported, and what that makes is never looked through again.

    The vendors leave 390,000 objects that live for ever. Each full collection goes through them with the
    interpreter's lock held: that stalled the application's loop for 0.3 s at a time and took a quarter of the
    CPU of a call.
    """
    if "litellm" in sys.modules:
        yield
        return
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()
