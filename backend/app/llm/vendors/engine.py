"""The vendors' side: how litellm and instructor are asked. Everything here runs on the client's own loop.

Invariants: every upstream call is on the books before it leaves; nothing below retries; a fault leaves as a value,
because an error raised here would carry the vendors' frames, and the text in them.
"""

import asyncio
import warnings
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol

import structlog
from cachetools import LRUCache
from pydantic import BaseModel

from app.config import LLMSettings
from app.errors import (
    LLMApiError,
    LLMContentRefused,
    LLMError,
    LLMInvalidAnswer,
    LLMRateLimited,
    LLMTimeout,
)
from app.llm.call import Delta
from app.llm.extraction import Answer, Extraction, Inquiry, ModelFacts, provider_of
from app.llm.vendors.access import vendor_options
from app.llm.vendors.answer import VendorAnswer, answer_of, is_refused, usage_at, usage_of
from app.llm.vendors.answer_form import answer_form
from app.llm.vendors.faults import VendorFaults
from app.llm.vendors.http import http_handler
from app.llm.vendors.http_session import http_session
from app.llm.vendors.price_list import facts_of
from app.llm.vendors.starts import Starts
from app.llm.vendors.stream_reading import StreamReading
from app.llm.vendors.tally import RunTally
from app.providers.from_settings import providers_of
from app.providers.outbound import ConnectionGuard
from app.providers.provider import Provider, ProviderKind

_log = structlog.get_logger(__name__)

_STARTS_AT_A_TIME = 16
# The deadline is ours. The vendors' timeout only has to be later, and the same for all calls: litellm makes a
# new HTTP client, with a new pool, for each timeout that it has not seen.
_VENDOR_TIMEOUT_SECONDS = 7200.0
# No status: the answer was lost on its way. These: a gateway gave up on a model that went on. Nobody knows
# what such a call cost; every other refusal is free.
_MAY_BE_BILLED = frozenset({None, 408, 504})
# Joins a line of our books to the provider's own log; the name is the one that OpenAI documents for this.
_ATTEMPT_HEADER = "X-Client-Request-Id"
_MODES = {"tools": "TOOLS", "json_schema": "JSON_SCHEMA", "md_json": "MD_JSON"}
_STREAMED = {"stream": True, "stream_options": {"include_usage": True}}
_MOST_WAYS = 256
# Callers bring schemas of their own, and each form holds memory that nothing else would give back.
_MOST_FORMS = 64


class Vendors(Protocol):
    """The modules that only the client may import."""

    litellm: Any
    instructor: Any
    is_internal_call: ContextVar[bool]


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
class _Way:
    """How a model is asked. `options` holds the key, so it is in no repr."""

    facts: ModelFacts
    ask: Any
    options: dict[str, Any]

    def __repr__(self) -> str:
        return f"_Way({self.facts!r})"


class Engine:
    """Made and used on the client's loop; only `facts` may be asked from elsewhere."""

    def __init__(self, settings: LLMSettings, vendors: Vendors) -> None:
        vendors.litellm.suppress_debug_info = True
        vendors.litellm.drop_params = False  # it would also repeat a call that was answered with 422
        # In each answer litellm notes its price and how long it took, for nobody here: a tenth of the CPU of a call.
        vendors.litellm.utils.update_response_metadata = _not_noted
        self._litellm, self._instructor = vendors.litellm, vendors.instructor
        self._is_internal_call = vendors.is_internal_call
        self._settings = settings
        self._own_providers = providers_of(settings)
        self._faults = VendorFaults(vendors.litellm)
        self._session = http_session(ConnectionGuard.of(settings))
        self._http = http_handler(vendors.litellm, self._session, timeout_seconds=_VENDOR_TIMEOUT_SECONDS)
        self._starts = Starts(_STARTS_AT_A_TIME)
        self._ways: dict[tuple[Provider, str], _Way] = {}
        self._forms: LRUCache[type[BaseModel], type[BaseModel]] = LRUCache(_MOST_FORMS)

    async def close(self) -> None:
        # litellm keeps its clients by the loop's id; another loop may get that id, and this closed session.
        self._litellm.in_memory_llm_clients_cache.flush_cache()
        await self._http.close()
        await self._session.close()

    async def extract(self, request: Extraction[Answer], tally: RunTally) -> Answer | Exception:
        """The answer, or why there is none."""
        way = self._way(request.provider or self._own(request.model), request.model)
        if not way.facts.is_provider_known:
            return LLMApiError()
        run = self._begin(tally, way)
        try:
            async with asyncio.timeout(request.timeout_seconds):
                answer = await self._ask(way, request)
            # Inside: what this check refuses is an invalid answer too, and its error quotes the answer.
            return request.response_model.model_validate(answer.model_dump())
        except TimeoutError:
            return LLMRateLimited() if tally.is_queued else LLMTimeout()
        except Exception as error:  # noqa: BLE001 - instructor wraps what it meets; the fault is in the run
            return run.fault or _fault_in_answer(error, has_answer=run.has_answer)

    async def complete(self, inquiry: Inquiry, tally: RunTally) -> VendorAnswer | Exception:
        """The answer, or why there is none."""
        way = self._way(inquiry.provider, inquiry.model)
        run = self._begin(tally, way)
        try:
            async with asyncio.timeout(inquiry.timeout_seconds):
                response = await self._metered(messages=_copies(inquiry), **way.options, **inquiry.options)
            return answer_of(response, way.facts) or LLMInvalidAnswer()
        except TimeoutError:
            return LLMRateLimited() if tally.is_queued else LLMTimeout()
        except Exception as error:  # noqa: BLE001 - as above
            return run.fault or _fault_in_answer(error, has_answer=run.has_answer)

    async def stream(
        self, inquiry: Inquiry, tally: RunTally, emit: Callable[[Delta], None]
    ) -> VendorAnswer | Exception:
        """The whole answer, after each piece of it went to `emit`; or why there is no whole one."""
        way = self._way(inquiry.provider, inquiry.model)
        run = self._begin(tally, way)
        reading = StreamReading(inquiry, tally, way.facts, emit)
        try:
            async with asyncio.timeout(inquiry.timeout_seconds):
                attempt_id = await self._open(run)
                call = {"messages": _copies(inquiry), **way.options, **inquiry.options, **_STREAMED}
                return await reading.read(lambda: self._send(run, attempt_id, call))
        except TimeoutError:
            return LLMRateLimited() if tally.is_queued else reading.whole_so_far() or LLMTimeout()
        except Exception as error:  # noqa: BLE001 - as above
            return run.fault or reading.whole_so_far() or self._faults.of(error)

    def facts(self, provider: Provider | None, model: str) -> ModelFacts:
        return self._way(provider or self._own(model), model).facts

    def _begin(self, tally: RunTally, way: _Way) -> _Run:
        run = _Run(tally, way.facts)
        _RUN.set(run)
        # litellm's own switch for calls whose success and failure it shall not log, price and report: a sixth
        # of the CPU of a call, and the place where it puts keys and notes into its log. The import fails if
        # it goes.
        self._is_internal_call.set(True)
        return run

    async def _ask(self, way: _Way, request: Extraction[Answer]) -> BaseModel:
        options = dict(way.options)
        if way.facts.takes_temperature:
            options["temperature"] = request.temperature
        answer: BaseModel = await way.ask.create(
            response_model=self._form(request.response_model),
            messages=_copies(request),
            # Extra tries since instructor 1.15.4, not all of them.
            max_retries=request.max_reasks,
            max_tokens=request.max_tokens,
            **options,
        )
        return answer

    async def _metered(self, **call: Any) -> Any:  # noqa: ANN401 - litellm's request and ModelResponse
        """litellm's completion as instructor sees it: on the books, and the end of the run at a fault."""
        run = _RUN.get()
        response = await self._send(run, await self._open(run), call)
        run.has_answer = True
        run.tally.report_answer(usage_of(response, run.facts))
        if is_refused(response):
            run.fault = LLMContentRefused()
            raise _StoppedError
        return response

    async def _open(self, run: _Run) -> str:
        """The id under which the next call is on the books."""
        try:
            return await run.tally.open()
        except Exception as error:  # noqa: BLE001 - the recorder's, for the caller, unchanged
            run.fault = error
            raise _StoppedError from None

    async def _send(self, run: _Run, attempt_id: str, call: dict[str, Any]) -> Any:  # noqa: ANN401 - whole or a stream
        run.has_answer = False
        try:
            async with self._starts.place(run.tally.report_left):
                return await self._litellm.acompletion(
                    **call, extra_headers={_ATTEMPT_HEADER: attempt_id}, max_retries=0
                )
        except Exception as error:  # noqa: BLE001 - the vendors raise anything; it is told apart by type
            run.fault = fault = self._faults.of(error)
            if fault.http_status not in _MAY_BE_BILLED:
                run.tally.report_answer(usage_at(run.facts, 0, 0))
            raise _StoppedError from None

    def _way(self, provider: Provider, model: str) -> _Way:
        way = self._ways.get((provider, model))
        if way is None:
            if len(self._ways) >= _MOST_WAYS:  # keys that were changed, providers that are gone
                self._ways.clear()
            facts = facts_of(provider, model, self._litellm, temperature=self._settings.temperature)
            mode = getattr(self._instructor.Mode, _MODES[self._mode(facts)])
            ask = self._instructor.from_litellm(self._metered, mode=mode)
            options = {
                **vendor_options(provider, model),
                "timeout": _VENDOR_TIMEOUT_SECONDS,
                "num_retries": 0,
                "shared_session": self._session,
            }
            if provider.kind is ProviderKind.ANTHROPIC:
                options["client"] = self._http
            way = self._ways[provider, model] = _Way(facts, ask, options)
        return way

    def _own(self, model: str) -> Provider:
        """Of the settings; a name that they do not know is litellm's to know."""
        name = provider_of(model)
        return self._own_providers.get(name) or Provider(name, ProviderKind.LITELLM)

    def _mode(self, facts: ModelFacts) -> str:
        """Of a model that nobody lists only this is sure: it reads a schema in its prompt."""
        if self._settings.structured_mode != "auto":
            return self._settings.structured_mode
        if facts.takes_json_schema:
            return "json_schema"
        return "tools" if facts.takes_tools else "md_json"

    def _form(self, response_model: type[BaseModel]) -> type[BaseModel]:
        form = self._forms.get(response_model)
        if form is None:
            form = self._forms[response_model] = answer_form(response_model, self._instructor.openai_schema)
        return form

    async def warm_up(self) -> None:
        """Pay what the first call would pay: lazy imports, schemas, validators. Without a network."""
        for model in self._settings.models:
            self.facts(None, model)
        import openai  # noqa: PLC0415 - with litellm

        _ = openai.AsyncOpenAI(api_key="none").chat.completions  # most of a second of imports
        with warnings.catch_warnings(action="ignore"):  # of pydantic, about litellm's types
            self._litellm.types.utils.Delta(content="")  # builds them; a first stream would wait for it
        ask = self._instructor.from_litellm(self._litellm.acompletion, mode=self._instructor.Mode.JSON_SCHEMA)
        await ask.create(
            response_model=self._form(_Warmth),
            messages=[],
            model="openai/warm-up",
            mock_response='{"is_warm": true}',
        )


class _Warmth(BaseModel):
    is_warm: bool


def _not_noted(**_: object) -> None:
    """In place of litellm's own."""


def _copies(request: Extraction[Any] | Inquiry) -> list[dict[str, Any]]:
    """The vendors' code edits the messages that it is given."""
    return [dict(message) for message in request.messages]


def _fault_in_answer(error: Exception, *, has_answer: bool) -> LLMError:
    if has_answer:
        return LLMInvalidAnswer()
    # Its type alone: the text may hold anything.
    _log.error("llm_call.broke_down", kind=type(error).__name__)
    return LLMApiError()
