"""The one door to every model: extract, complete, stream.

A call is routed to a plan, and pursued over its models within one deadline. Invariants: nothing is sent that is not on
the books before, and what comes out is a whole, checked answer with its receipt, or an LLMError.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from dataclasses import replace
from decimal import Decimal
from typing import TypeVar

from app import clock
from app.config import LLMSettings
from app.context.local_server import LocalServers
from app.database import Database
from app.errors import LLMUnreachable
from app.llm.attempts import AttemptRecorder, FirstCall, Purpose
from app.llm.cache import AnswerCache
from app.llm.call import Call, Completion, Extracted, Receipt, StreamEvent
from app.llm.channel import Channel
from app.llm.codecs import FREE_FORM, Codec, form_codec
from app.llm.errand import Errand, Send
from app.llm.extraction import Answer, Extraction, Inquiry, Message, provider_of
from app.llm.ledger.direct_books import DirectBooks, NoBooks
from app.llm.ledger.reservation import most_usd, tokens_beside, tokens_of_shape
from app.llm.local_models import LocalModels
from app.llm.meters import Meters, Recent
from app.llm.planner import IsBudgeted, Planner, unbudgeted
from app.llm.pursuit import Try
from app.llm.receipts import Account
from app.llm.rendering import Rendered, Renderer
from app.llm.requests import NO_HINTS, options_of, prepared, tokens_of
from app.llm.routing import Candidate, Plan
from app.llm.routing_rules import RoutingRules, load_rules
from app.llm.traffic.breaker import Breaker
from app.llm.traffic.doors import Doors
from app.llm.traffic.gate import UNLIMITED, ProviderGate
from app.llm.traffic.limits import Limits, Turnstiles
from app.llm.traffic.shared.shared_traffic import SharedTraffic
from app.llm.vendors.answer import VendorAnswer
from app.llm.vendors.client import FREE, Toll
from app.llm.vendors.upstreams import Upstreams, build_upstreams
from app.prompts.prompt_version import PromptVersion
from app.providers.access import ProviderAccess
from app.providers.from_settings import providers_of
from app.providers.outbound import ConnectionGuard, GuardedSession
from app.providers.provider import Provider
from app.providers.traffic import BreakerState, Traffic

T = TypeVar("T")


class Gateway:
    """Shared by all callers of a process; to be used from the application's loop."""

    def __init__(
        self,
        settings: LLMSettings,
        upstreams: Upstreams,
        rules: RoutingRules,
        *,
        providers: Callable[[], Mapping[str, Provider]],
        is_down: Callable[[str], bool] = lambda _provider: False,
        is_budgeted: IsBudgeted = unbudgeted,
        database: Database | None = None,
        minute_seconds: float = 60.0,
    ) -> None:
        self._settings, self._upstreams, self._rules = settings, upstreams, rules
        self._books = DirectBooks(database) if database else NoBooks()
        self.cache = AnswerCache(database)
        self._local_models = LocalModels(LocalServers(GuardedSession(ConnectionGuard.of(settings))))
        self._renderer = Renderer(
            self._local_models, is_compressing=settings.compress, output_tokens=settings.max_tokens
        )
        self._planner = Planner(settings, rules, upstreams, self._local_models, providers, is_down, is_budgeted)
        self.gate = ProviderGate(clock.local_seconds)
        self._shared = None if database is None else SharedTraffic(database, self.gate, providers, minute_seconds)
        self.breaker = Breaker(clock.local_seconds, faults_to_open=settings.circuit_faults)
        self.meters = Meters()
        limits = self._shared.limits if self._shared else None
        self.turnstiles = Turnstiles(clock.local_seconds, minute_seconds=minute_seconds, sharing=limits)
        self._doors = Doors(self.gate, self.breaker, self._shared.gates if self._shared else None)

    def sharing(self) -> AbstractAsyncContextManager[None]:
        """In the block, gates and limits a minute are shared with the other processes on the database."""
        return self._shared.running() if self._shared else nullcontext()

    def review_providers(self) -> None:
        """One of them may have another key or address by now: then its gate is open."""
        if self._shared is not None:
            self._shared.gates.review()

    def keeping_books(self) -> AbstractAsyncContextManager[None]:
        """In the block, what a process that died left open on the books is marked."""
        return self._books.swept()

    @asynccontextmanager
    async def warming_up(self) -> AsyncIterator[None]:
        """Beside the block the vendors' code gets ready where a provider needs it: the first call would wait for it."""
        warming = asyncio.create_task(self._warm_up())
        try:
            yield
        finally:
            warming.cancel()
            await asyncio.gather(warming, return_exceptions=True)

    async def _warm_up(self) -> None:
        if self._planner.needs_vendors:
            with suppress(LLMUnreachable):  # it is logged; a call tries again
                await self.start()

    async def start(self) -> None:
        """Get the vendors' code ready, off the loop. Safe to repeat; a call does it where nobody did."""
        await self._upstreams.start()

    async def close(self) -> None:
        """Drop what is under way, and write down how it ended. Safe to repeat."""
        await self._upstreams.close()
        await self._local_models.close()
        await self._books.close()
        await self.cache.close()

    async def check(self, call: Call) -> None:
        """Whether a model could be asked for this, without asking one. Raises an LLMError that says why not."""
        plan = await self.plan(call)
        if not plan.candidates:
            raise plan.fault()

    async def plan(self, call: Call) -> Plan:
        """The models that would be asked, and those that would not, with the reasons. Raises LLMError."""
        return await self._planner.plan(prepared(call))

    async def extract(
        self, call: Call, form: type[Answer], recorder: AttemptRecorder | None = None
    ) -> Extracted[Answer]:
        """A checked answer in this form.

        Without a recorder, which a row of a lane brings along, its attempts are booked for the spender. Raises an
        LLMError, or what the recorder raised, LeaseLost above all. A cancellation drops the upstream call and
        settles its attempt first.
        """
        call, codec = prepared(call), form_codec(form)

        async def send(attempt: Try, rendered: Rendered, account: Account) -> Answer:
            request = self._extraction(call, form, attempt, rendered)
            toll = self._toll(attempt.candidate.provider, rendered.messages, request.max_tokens)
            read = tokens_of(rendered.messages) + tokens_of_shape(codec.shape)
            account.may_cost(most_usd(attempt.candidate, input_tokens=read, output_tokens=request.max_tokens))
            return await self._upstreams.extract(attempt.candidate.provider, request, account, toll)

        content, receipt = await self._answer(call, recorder, codec, send)
        return Extracted(content, receipt)

    async def complete(self, call: Call, recorder: AttemptRecorder | None = None) -> Completion:
        """A whole answer in free form, or tool calls. Raises as `extract` does."""
        call = prepared(call)

        async def send(attempt: Try, rendered: Rendered, account: Account) -> VendorAnswer:
            inquiry = self._inquiry(call, attempt, rendered, seconds=attempt.share_seconds)
            account.may_cost(self._inquiry_most_usd(attempt.candidate, inquiry))
            return await self._upstreams.complete(inquiry, account, self._inquiry_toll(inquiry))

        return _completion(*await self._answer(call, recorder, FREE_FORM, send))

    async def stream(self, call: Call, recorder: AttemptRecorder | None = None) -> AsyncGenerator[StreamEvent]:
        """The answer as it comes; the last event is Finished. Raises as `extract` does, then nothing was finished.

        After Restarted everything before it is void. Leaving the iteration (`aclose`) drops the upstream call.
        """
        call, channel = prepared(call), Channel()

        async def send(attempt: Try, rendered: Rendered, account: Account) -> VendorAnswer:
            inquiry = self._inquiry(call, attempt, rendered, seconds=attempt.left_seconds)
            account.may_cost(self._inquiry_most_usd(attempt.candidate, inquiry))
            emit = channel.begin(attempt)
            return await self._upstreams.stream(inquiry, emit, account, self._inquiry_toll(inquiry))

        async def run() -> Completion:
            whole = _completion(*await self._answer(call, recorder, FREE_FORM, send, is_stream=True))
            if whole.receipt.cached:
                channel.pass_on(whole)
            return whole

        async for event in channel.events_of(run()):
            yield event

    def look_again(self, provider: str) -> None:
        """At what its server says of its models; for whoever has just seen whether it lives."""
        self._planner.look_again(provider)

    @property
    def tasks(self) -> list[str]:
        """By name."""
        return sorted(self._rules.tasks)

    def known_models(self) -> list[str]:
        """`provider/model` of all plans and providers, as far as somebody named them; each once."""
        return self._planner.known_models()

    def first_call(self, task: str, prompt: PromptVersion | None = None) -> FirstCall | None:
        """What a plain call with this prompt, or with messages, will ask first; None when it depends on the call."""
        first = self._planner.usual_first(task, prompt.hints if prompt else NO_HINTS)
        if first is None or self._doors.allowance(first[0]) != UNLIMITED:
            return None
        model, reason = first
        purpose = Purpose(task, reason)
        if prompt is not None:
            purpose = replace(purpose, prompt_id=prompt.id, prompt_version=prompt.version)
        return FirstCall(provider_of(model), model, purpose)

    def allowance(self, task: str) -> int:
        """How many calls of this task may be made now; 0 while every model of its plan is closed."""
        return max(self._doors.allowance(model) for model in self._planner.usual(task))

    def seconds_until_open(self, task: str) -> float:
        """How long an allowance of 0 lasts at least; 0 when it lasts until a probe under way has ended."""
        return min(self._doors.seconds_until_open(model) for model in self._planner.usual(task))

    def traffic_of(self, provider: str) -> Traffic:
        """For the provider's status, as this process sees it."""
        circuits = [status for status in self.breaker.status() if provider_of(status.model) == provider]
        waiting, in_flight = self.turnstiles.load_of(provider)
        traffic = self.gate.traffic_of(provider)
        recent = self.meters.recent.get(provider, Recent())
        return replace(
            self._shared.shown_in(traffic, provider) if self._shared else traffic,
            breakers=[BreakerState(status.model, status.state, status.seconds_until_probe) for status in circuits],
            in_flight=in_flight,
            waiting=waiting,
            latency_p50_ms=recent.latency_p50_ms,
            last_error_code=recent.error_code,
            last_error_at=recent.error_at,
        )

    async def _answer(
        self,
        call: Call,
        recorder: AttemptRecorder | None,
        codec: Codec[T],
        send: Send[T],
        *,
        is_stream: bool = False,
    ) -> tuple[T, Receipt]:
        deadline = clock.local_seconds() + call.deadline_seconds
        plan = await self._planner.plan(call)
        recorder = recorder or self._books.recorder_of(call)
        account = Account(recorder, _purpose(call, is_stream=is_stream), self.meters)
        beside = tokens_beside(call.parameters.tools, call.parameters.response_format)
        if codec is not FREE_FORM:
            beside += tokens_of_shape(codec.shape)

        async def render(candidate: Candidate) -> Rendered:
            return await self._renderer.render(call, candidate, plan.rules, beside)

        return await Errand(call, plan, account, codec, render, send, deadline).run(self._doors, self.cache)

    def _extraction(self, call: Call, form: type[Answer], attempt: Try, rendered: Rendered) -> Extraction[Answer]:
        settings, wished, reasks = self._settings, call.parameters, self._rules.tasks[call.task].reasks
        return Extraction(
            model=attempt.candidate.name,
            response_model=form,
            messages=rendered.messages,
            timeout_seconds=attempt.share_seconds,
            temperature=settings.temperature if wished.temperature is None else wished.temperature,
            max_tokens=wished.max_tokens or settings.max_tokens,
            max_reasks=settings.max_retries if reasks is None else reasks,
            provider=attempt.candidate.provider,
            task=call.task,
        )

    def _inquiry(self, call: Call, attempt: Try, rendered: Rendered, *, seconds: float) -> Inquiry:
        rules = self._rules.tasks[call.task]
        return Inquiry(
            attempt.candidate.name,
            attempt.candidate.provider,
            rendered.messages,
            seconds,
            options_of(call.parameters),
            first_token_seconds=rules.first_token_seconds,
            stall_seconds=rules.stall_seconds,
            task=call.task,
        )

    def _inquiry_most_usd(self, candidate: Candidate, inquiry: Inquiry) -> Decimal | None:
        """Where the caller set no bound the model's own holds."""
        options = inquiry.options
        bound = options.get("max_tokens") or candidate.facts.max_output_tokens or self._settings.max_tokens
        read = tokens_of(inquiry.messages) + tokens_beside(options.get("tools"), options.get("response_format"))
        return most_usd(candidate, input_tokens=read, output_tokens=bound)

    def _inquiry_toll(self, inquiry: Inquiry) -> Toll:
        most = int(inquiry.options.get("max_tokens") or self._settings.max_tokens)
        return self._toll(inquiry.provider, inquiry.messages, most)

    def _toll(self, provider: Provider, messages: tuple[Message, ...], output_tokens: int) -> Toll:
        limits = Limits(provider.requests_per_minute, provider.tokens_per_minute, provider.max_concurrency)
        if limits == Limits():
            return FREE
        tokens = tokens_of(messages) + output_tokens if limits.tokens_per_minute else 0
        return Toll(self.turnstiles.of(provider.name, limits), tokens)


def build_gateway(
    settings: LLMSettings,
    access: ProviderAccess | None = None,
    database: Database | None = None,
    is_budgeted: IsBudgeted = unbudgeted,
) -> Gateway:
    """A new one; nothing is imported or opened before its first use. Raises StartRefused.

    Without access to the providers of a process it knows those of the settings only, and none is ever down. Without
    a database calls are on the books only where a recorder is handed in.
    """
    upstreams = build_upstreams(settings)
    own = providers_of(settings)
    gateway = Gateway(
        settings,
        upstreams,
        load_rules(settings.routing_file),
        providers=access.registry.snapshot if access else lambda: own,
        is_down=access.monitor.is_down if access else lambda _provider: False,
        database=database,
        is_budgeted=is_budgeted,
    )
    if access is not None:
        access.monitor.subscribe(gateway.look_again)
        access.registry.subscribe(gateway.review_providers)
    return gateway


def _purpose(call: Call, *, is_stream: bool) -> Purpose:
    key = call.spender.api_key_id
    if isinstance(call.prompt, tuple):
        return Purpose(call.task, api_key_id=key, is_stream=is_stream)
    prompt = call.prompt
    return Purpose(call.task, prompt_id=prompt.id, prompt_version=prompt.version, api_key_id=key, is_stream=is_stream)


def _completion(answer: VendorAnswer, receipt: Receipt) -> Completion:
    return Completion(answer.content, answer.tool_calls, answer.finish_reason, receipt)
