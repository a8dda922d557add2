"""The only file that knows litellm and instructor. They live on a thread and a loop of their own.

Invariants: every upstream call is on the books before it leaves; nothing below retries; one deadline holds
over the whole run; what leaves this file is a checked answer or an error of ours, never a vendor's exception,
text or log line.
"""

import asyncio
import gc
import os
import sys
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import structlog
from pydantic import BaseModel, SecretStr

from app.clock import utc_now
from app.config import LLMSettings
from app.errors import (
    LLMApiError,
    LLMAuthRefused,
    LLMContentRefused,
    LLMContextTooLong,
    LLMError,
    LLMInvalidAnswer,
    LLMRateLimited,
    LLMTimeout,
    LLMUnreachable,
)
from app.llm.answer_form import answer_form
from app.llm.attempts import UNRECORDED, AttemptRecorder
from app.llm.background_loop import BackgroundLoop
from app.llm.extraction import Answer, Extraction, ModelFacts, provider_of
from app.llm.faults import codes_in, fault_of_status, retry_after_seconds
from app.llm.http_session import AnswerTooLarge, http_session
from app.llm.price_list import facts_of
from app.llm.starts import Starts
from app.llm.tally import RunTally
from app.llm.vendor_answer import is_refused, json_of, usage_at, usage_of
from app.llm.vendor_log import filters_kept_out, silence_vendor_loggers
from app.providers.outbound import ConnectionGuard

_log = structlog.get_logger(__name__)

_STARTS_AT_A_TIME = 16
# The deadline is ours. The vendors' timeout only has to be later, and the same for all calls: litellm makes a
# new HTTP client, with a new pool, for each timeout that it has not seen.
_VENDOR_TIMEOUT_SECONDS = 7200.0
# Before litellm is imported: no price list from the network, no `.env` read behind our back, no log.
_ENVIRONMENT = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_MODE": "PRODUCTION",
    "LITELLM_LOG": "ERROR",
}
# No status: the answer was lost on its way. These: a gateway gave up on a model that went on. Nobody knows
# what such a call cost; every other refusal is free.
_MAY_BE_BILLED = frozenset({None, 408, 504})
# Joins a line of our books to the provider's own log; the name is the one that OpenAI documents for this.
_ATTEMPT_HEADER = "X-Client-Request-Id"
_MODES = {"tools": "TOOLS", "json_schema": "JSON_SCHEMA", "md_json": "MD_JSON"}


class LLMClient:
    """Asks models for structured answers. To be used from the application's loop, which it never holds."""

    def __init__(self, settings: LLMSettings) -> None:
        self._settings = settings
        self._background = BackgroundLoop("llm-client")
        self._engine: Future[_Engine] | None = None

    async def start(self) -> None:
        """Import the vendors on their own thread and pay the costs of first use. Safe to repeat."""
        await self._started()

    async def close(self) -> None:
        """Cancel what is under way, close the connections, end the thread. Safe to repeat."""
        engine, self._engine = self._engine, None
        if engine is not None and engine.done() and engine.exception() is None:
            await asyncio.wrap_future(self._background.submit(engine.result().close()))
        await self._background.stop()

    async def extract(self, request: Extraction[Answer], recorder: AttemptRecorder = UNRECORDED) -> Answer:
        """A checked answer, after at most `max_reasks` re-asks.

        Raises an LLMError, or what the recorder raised on opening an attempt, LeaseLost above all; then no
        call was made. On cancellation the call is dropped upstream and settled before the cancellation goes
        on.
        """
        engine = await self._started()
        tally = RunTally(recorder, provider=provider_of(request.model), model=request.model)
        run = self._background.submit(engine.run(request, tally))
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

    async def facts(self, model: str) -> ModelFacts:
        """What the vendors' price list says of the model; asks nobody."""
        engine = await self._started()
        return engine.plan(model).facts

    async def _started(self) -> "_Engine":
        if self._engine is None:
            self._engine = self._background.submit(_start_engine(self._settings))
        return await asyncio.shield(asyncio.wrap_future(self._engine))


class _StoppedError(Exception):
    """Ends a run inside instructor; why is in `_Run.fault`. It says nothing, because instructor logs it."""


@dataclass(slots=True)
class _Run:
    tally: RunTally
    facts: ModelFacts
    fault: Exception | None = None
    has_answer: bool = False


_RUN: ContextVar[_Run] = ContextVar("llm_run")


@dataclass(frozen=True, slots=True)
class _Plan:
    """How a model is asked. `options` holds the key, so it is in no repr."""

    facts: ModelFacts
    ask: Any
    options: dict[str, Any]

    def __repr__(self) -> str:
        return f"_Plan({self.facts!r})"


async def _start_engine(settings: LLMSettings) -> "_Engine":
    os.environ.update(_ENVIRONMENT)
    with _uncollected_garbage(), filters_kept_out():
        engine = _Engine(settings)
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


class _Engine:
    """The vendors' side. Everything here runs on the client's loop."""

    def __init__(self, settings: LLMSettings) -> None:
        # Here and not above: the import takes seconds and holds 130 MB, and the stub provider needs none of
        # it.
        import instructor  # noqa: PLC0415
        import litellm  # noqa: PLC0415
        from litellm._internal_context import is_internal_call  # noqa: PLC0415

        litellm.suppress_debug_info = True
        litellm.drop_params = False  # it would also repeat a call that was answered with 422
        self._litellm, self._instructor, self._is_internal_call = litellm, instructor, is_internal_call
        self._settings = settings
        self._session = http_session(ConnectionGuard.of(settings))
        self._starts = Starts(_STARTS_AT_A_TIME)
        self._plans: dict[str, _Plan] = {}
        self._forms: dict[type[BaseModel], type[BaseModel]] = {}

    async def close(self) -> None:
        # litellm keeps its clients by the loop's id; another loop may get that id, and this closed session.
        self._litellm.in_memory_llm_clients_cache.flush_cache()
        await self._session.close()

    async def run(self, request: Extraction[Answer], tally: RunTally) -> Answer | Exception:
        """The answer, or why there is none."""
        plan = self.plan(request.model)
        if not plan.facts.is_provider_known:
            return LLMApiError()
        run = _Run(tally, plan.facts)
        _RUN.set(run)
        # litellm's own switch for calls whose success and failure it shall not log, price and report: a sixth
        # of the CPU of a call, and the place where it puts keys and notes into its log. The import fails if
        # it goes.
        self._is_internal_call.set(True)
        try:
            async with asyncio.timeout(request.timeout_seconds):
                answer = await self._ask(plan, request)
            # Inside: what this check refuses is an invalid answer too, and its error quotes the answer.
            return request.response_model.model_validate(answer.model_dump())
        except TimeoutError:
            return LLMTimeout()
        except Exception as error:  # noqa: BLE001 - instructor wraps what it meets; the fault is in the run
            return run.fault or _fault_in_answer(error, has_answer=run.has_answer)

    async def _ask(self, plan: _Plan, request: Extraction[Answer]) -> BaseModel:
        options = dict(plan.options)
        if plan.facts.takes_temperature:
            options["temperature"] = request.temperature
        answer: BaseModel = await plan.ask.create(
            response_model=self._form(request.response_model),
            messages=[dict(message) for message in request.messages],
            # Extra tries since instructor 1.15.4, not all of them.
            max_retries=request.max_reasks,
            max_tokens=request.max_tokens,
            **options,
        )
        return answer

    async def _metered(self, **call: Any) -> Any:  # noqa: ANN401 - litellm's request and ModelResponse
        """litellm's completion as instructor sees it: on the books, and the end of the run at a fault."""
        run = _RUN.get()
        try:
            attempt_id = await run.tally.open()
        except Exception as error:  # noqa: BLE001 - the recorder's, for the caller, unchanged
            run.fault = error
            raise _StoppedError from None
        run.has_answer = False
        try:
            async with self._starts.place():
                response = await self._litellm.acompletion(
                    **call, extra_headers={_ATTEMPT_HEADER: attempt_id}, max_retries=0
                )
        except Exception as error:  # noqa: BLE001 - the vendors raise anything; it is told apart by type
            run.fault = fault = self._fault_of(error)
            if fault.http_status not in _MAY_BE_BILLED:
                run.tally.report_answer(usage_at(run.facts, 0, 0))
            raise _StoppedError from None
        run.has_answer = True
        run.tally.report_answer(usage_of(response, run.facts))
        if is_refused(response):
            run.fault = LLMContentRefused()
            raise _StoppedError
        return response

    def plan(self, model: str) -> _Plan:
        if model not in self._plans:
            facts = facts_of(model, self._litellm, temperature=self._settings.temperature)
            mode = getattr(self._instructor.Mode, _MODES[self._mode(facts)])
            ask = self._instructor.from_litellm(self._metered, mode=mode)
            self._plans[model] = _Plan(facts, ask, self._options(model))
        return self._plans[model]

    def _mode(self, facts: ModelFacts) -> str:
        """Of a model that nobody lists only this is sure: it reads a schema in its prompt."""
        if self._settings.structured_mode != "auto":
            return self._settings.structured_mode
        if facts.takes_json_schema:
            return "json_schema"
        return "tools" if facts.takes_tools else "md_json"

    def _options(self, model: str) -> dict[str, Any]:
        provider, settings = provider_of(model), self._settings
        options: dict[str, Any] = {
            "model": model,
            "timeout": _VENDOR_TIMEOUT_SECONDS,
            "num_retries": 0,
            "shared_session": self._session,
        }
        keys: dict[str, SecretStr | None] = {
            "openai": settings.openai_api_key,
            "anthropic": settings.anthropic_api_key,
        }
        key = keys.get(provider)
        if key is not None:
            options["api_key"] = key.get_secret_value()
        if settings.api_base is not None and provider == provider_of(settings.model):
            options["api_base"] = settings.api_base
            options.setdefault("api_key", "none")  # a local server asks for none, the SDK for any
        return options

    def _form(self, response_model: type[BaseModel]) -> type[BaseModel]:
        if response_model not in self._forms:
            self._forms[response_model] = answer_form(response_model, self._instructor.openai_schema)
        return self._forms[response_model]

    async def warm_up(self) -> None:
        """Pay what the first call would pay: lazy imports, schemas, validators. Without a network."""
        for model in self._settings.models:
            self.plan(model)
        import openai  # noqa: PLC0415 - with litellm

        _ = openai.AsyncOpenAI(api_key="none").chat.completions  # most of a second of imports
        ask = self._instructor.from_litellm(self._litellm.acompletion, mode=self._instructor.Mode.JSON_SCHEMA)
        await ask.create(
            response_model=self._form(_Warmth),
            messages=[],
            model="openai/warm-up",
            mock_response='{"is_warm": true}',
        )

    def _fault_of(self, error: Exception) -> LLMError:
        """By the HTTP answer where there was one, else by litellm's type.

        Not by litellm's type alone: it reads the status out of the sentence, and a 400 that repeats a note
        about rate limits becomes a RateLimitError; and it drops the Retry-After header.
        """
        import httpx  # noqa: PLC0415 - with litellm

        for cause in _causes(error):
            if isinstance(cause, AnswerTooLarge):
                return LLMInvalidAnswer()
            if isinstance(cause, httpx.HTTPStatusError):
                return self._fault_of_answer(error, cause.response)
        return self._fault_of_type(error)

    def _fault_of_answer(self, error: Exception, response: Any) -> LLMError:  # noqa: ANN401 - httpx.Response
        fault = fault_of_status(
            response.status_code,
            codes_in(json_of(response)),
            retry_after_seconds(response.headers.get("retry-after"), utc_now()),
        )
        # Some vendors have no word for this but their sentence; it changes only which permanent fault it is.
        is_too_long = isinstance(error, self._litellm.ContextWindowExceededError)
        if is_too_long and type(fault) is LLMApiError:
            return LLMContextTooLong(http_status=fault.http_status)
        return fault

    def _fault_of_type(self, error: Exception) -> LLMError:
        known = self._litellm
        table: tuple[tuple[type[Exception], type[LLMError]], ...] = (
            (known.Timeout, LLMTimeout),
            (known.AuthenticationError, LLMAuthRefused),
            (known.PermissionDeniedError, LLMAuthRefused),
            (known.RateLimitError, LLMRateLimited),
            (known.ContextWindowExceededError, LLMContextTooLong),
            (known.ContentPolicyViolationError, LLMContentRefused),
            (known.BadRequestError, LLMApiError),
            (known.NotFoundError, LLMApiError),
        )
        return next((ours() for theirs, ours in table if isinstance(error, theirs)), LLMUnreachable())


class _Warmth(BaseModel):
    is_warm: bool


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error, and what it was raised from, outermost first."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def _fault_in_answer(error: Exception, *, has_answer: bool) -> LLMError:
    if has_answer:
        return LLMInvalidAnswer()
    # Its type alone: the text may hold anything.
    _log.error("llm_call.broke_down", kind=type(error).__name__)
    return LLMApiError()
