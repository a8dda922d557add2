"""Calls to a gateway over the protocol server, as the tests of the gateway make them."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import pairwise
from typing import Any

from pydantic import SecretStr

from app.errors import LLMError
from app.llm.call import Call, Completion, Delta, Finished, Parameters, Restarted, Spender, StreamEvent
from app.llm.gateway import Gateway
from app.llm.routing_rules import RoutingRules, TaskRules, load_rules
from app.llm.vendors.upstreams import build_upstreams
from app.providers.from_settings import providers_of
from app.providers.provider import Provider, ProviderKind
from tests.llm.recorder import KEY, MODEL, SENTENCE, Recorder, llm_settings
from tests.protocol_server.server import ProtocolServer

SECOND = "openai/gpt-4o"
# Of another provider; the upstream knows it by the same name.
SPARE = "spare/gpt-4o"
# On Anthropic's wire.
CLAUDE = "anthropic/claude-haiku-4-5"


def chat(text: str = SENTENCE, **changes: Any) -> Call:
    """A question that somebody waits for."""
    call = Call(
        task="chat",
        prompt=({"role": "user", "content": text},),
        spender=Spender(user_id="ann", lane="chat"),
        deadline_seconds=10,
        parameters=Parameters(max_tokens=200),
    )
    return replace(call, **changes)


class Door:
    """A gateway, and what came of the calls through it."""

    def __init__(
        self, upstream: ProtocolServer, gateway: Gateway, providers: dict[str, Provider] | None = None
    ) -> None:
        self.upstream, self.gateway, self.providers = upstream, gateway, providers or {}
        self.recorder = Recorder()
        self.events: list[StreamEvent] = []

    async def complete(self, call: Call | None = None) -> Completion | LLMError:
        try:
            return await self.gateway.complete(call or chat(), self.recorder)
        except LLMError as fault:
            return fault

    async def stream(self, call: Call | None = None) -> Completion | LLMError:
        """Reads to the end; what was read is in `events`."""
        try:
            async for event in self.gateway.stream(call or chat(), self.recorder):
                self.events.append(event)
        except LLMError as fault:
            return fault
        last = self.events[-1]
        assert isinstance(last, Finished)
        return last.completion

    @property
    def asked(self) -> list[str]:
        return [call.model for call in self.upstream.calls]

    @property
    def gaps(self) -> list[float]:
        """Seconds between the calls that the upstream saw."""
        times = [call.arrived_monotonic for call in self.upstream.calls]
        return [later - earlier for earlier, later in pairwise(times)]

    @property
    def text_read(self) -> str:
        """What a client holds that drops everything before a restart."""
        text = ""
        for event in self.events:
            if isinstance(event, Restarted):
                text = ""
            elif isinstance(event, Delta):
                text += event.content
        return text


@asynccontextmanager
async def door(
    upstream: ProtocolServer,
    *fallbacks: str,
    model: str = MODEL,
    rules: dict[str, Any] | None = None,
    limits: dict[str, Any] | None = None,
    structured_mode: str = "auto",
    urls: Mapping[str, str] | None = None,
    **gateway_options: Any,
) -> AsyncIterator[Door]:
    """`rules` are of the task chat, `limits` of the provider openai; `urls` of providers that are not the upstream.

    Given a database, the gateway shares its traffic with others on it.
    """
    settings = llm_settings(
        upstream.base_url, model=model, fallback_models=list(fallbacks), structured_mode=structured_mode
    )
    providers = dict(providers_of(settings))
    openai = providers.get("openai") or Provider("openai", ProviderKind.OPENAI, base_url=upstream.base_url)
    providers["openai"] = replace(openai, **(limits or {}))
    providers["spare"] = Provider("spare", ProviderKind.OPENAI_COMPATIBLE, base_url=upstream.base_url, is_local=True)
    providers["anthropic"] = Provider(
        "anthropic", ProviderKind.ANTHROPIC, base_url=upstream.url, api_key=SecretStr(KEY)
    )
    for name, url in (urls or {}).items():
        providers[name] = replace(providers[name], base_url=url)
    shipped = load_rules()
    tasks = {**shipped.tasks, "chat": TaskRules.model_validate(rules or {})}
    upstreams = build_upstreams(settings)
    gateway = Gateway(settings, upstreams, RoutingRules(tasks=tasks), providers=lambda: providers, **gateway_options)
    await gateway.start()
    try:
        async with gateway.sharing():
            yield Door(upstream, gateway, providers)
    finally:
        await gateway.close()
