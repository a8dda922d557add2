"""A model on an own machine: its window and its count are the server's own, and asking for them is in no call's way."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from app import clock
from app.clock import local_seconds
from app.errors import LLMContextTooLong
from app.llm.call import Call, Completion, Parameters, Spender
from app.llm.gateway import Gateway
from app.llm.routing_rules import load_rules
from app.llm.vendors.upstreams import build_upstreams
from app.prompts.registry import as_in_files
from app.providers.provider import ModelSpec, Provider, ProviderKind
from tests.llm.gateway_calls import Door, chat
from tests.llm.recorder import llm_settings
from tests.protocol_server.server import ProtocolServer

TINY = "home/tiny"
LONG = " ".join(f"Sentence number {number} of a long note." for number in range(2000))
PROMPTS = as_in_files("development")


class Home(Door):
    """One provider on the own machine, which may be changed."""

    provider: Provider
    is_down = False

    def about(self, document: str = LONG, **changes: Any) -> Call:
        call = Call(
            task="query",
            prompt=PROMPTS.get("query"),
            variables={"question": "What is it about?"},
            document=document,
            spender=Spender("ann", "query"),
            deadline_seconds=10,
            parameters=Parameters(max_tokens=100),
            models=(TINY,),
        )
        return replace(call, **changes)

    async def asks(self, call: Call | None = None) -> Completion:
        answer = await self.complete(call or self.about())
        assert isinstance(answer, Completion), answer
        return answer

    async def until_too_long(self, call: Call) -> None:
        """Until a look at the server has brought a window that this does not fit."""
        async with asyncio.timeout(10):
            while await self._fits(call):
                await clock.sleep(0.005)

    async def _fits(self, call: Call) -> bool:
        try:
            await self.gateway.check(call)
        except LLMContextTooLong:
            return False
        return True

    @property
    def tokens_sent(self) -> int:
        return self.upstream.calls[-1].billed_input_tokens


@pytest.fixture
async def home(upstream: ProtocolServer) -> AsyncIterator[Home]:
    upstream.offer.models = ["tiny"]
    settings = llm_settings(upstream.base_url, model=TINY, allowed_hosts=["127.0.0.1"])
    gateway = Gateway(
        settings,
        build_upstreams(settings),
        load_rules(),
        providers=lambda: {"home": door.provider},
        is_down=lambda _name: door.is_down,
    )
    await gateway.start()
    door = Home(upstream, gateway)
    door.provider = Provider("home", ProviderKind.OPENAI_COMPATIBLE, base_url=upstream.base_url, is_local=True)
    yield door
    await gateway.close()


@pytest.mark.parametrize("speaks", ["llama.cpp", "ollama"])
async def test_a_document_is_cut_to_the_window_that_the_server_tells(home: Home, speaks: Any) -> None:
    home.upstream.offer.speaks = speaks
    home.upstream.offer.context_tokens = 8_192
    answer = await home.asks()
    assert 0.2 < answer.receipt.coverage < 1
    assert 5_000 < home.tokens_sent <= 8_092


async def test_a_server_that_counts_itself_has_its_window_used_to_the_full(home: Home) -> None:
    """The protocol server counts four characters a token, which is more than the estimator thinks there are."""
    home.upstream.offer.context_tokens = 8_192
    counted = await home.asks()
    sent = home.tokens_sent
    assert 0.85 * 8_092 < sent <= 8_092
    home.upstream.offer.speaks = "ollama"
    other = replace(
        home.provider, name="home", base_url=f"{home.upstream.url}/v1/"
    )  # another server, as far as we know
    home.provider = other
    estimated = await home.asks(home.about(LONG + " And more."))
    assert estimated.receipt.coverage != counted.receipt.coverage and home.tokens_sent <= 8_092


async def test_what_the_operator_says_of_a_model_holds(home: Home) -> None:
    home.upstream.offer.context_tokens = 100_000
    home.provider = replace(home.provider, models=(ModelSpec("tiny", context_window=2_048),))
    await home.asks()
    assert home.tokens_sent <= 1_948 and home.upstream.listings == 0


async def test_messages_over_the_window_are_refused_before_they_are_sent(home: Home) -> None:
    home.upstream.offer.context_tokens = 1_024
    fault = await home.complete(chat(LONG, models=(TINY,)))
    assert isinstance(fault, LLMContextTooLong) and home.upstream.calls == []


async def test_a_server_that_tells_nothing_gets_the_window_that_is_safe_everywhere(home: Home) -> None:
    home.upstream.offer.speaks = ""
    assert (await home.asks()).receipt.coverage < 1
    assert home.tokens_sent <= 4_096


async def test_a_server_that_does_not_answer_holds_no_call_up_twice(home: Home) -> None:
    home.upstream.listing_fault = "hang_headers"
    began = local_seconds()
    await home.asks()
    assert local_seconds() - began < 3
    began = local_seconds()
    await asyncio.gather(*(home.asks(home.about("Short.")) for _ in range(5)))
    assert local_seconds() - began < 1


async def test_a_server_that_is_down_is_not_asked(home: Home) -> None:
    home.is_down = True
    await home.asks()
    home.gateway.look_again("home")
    assert home.upstream.listings == 0


async def test_a_look_at_its_health_brings_a_new_window(home: Home) -> None:
    home.upstream.offer.context_tokens = 8_192
    await home.asks()
    assert home.tokens_sent > 4_096
    home.upstream.offer.context_tokens = 2_048
    home.gateway.look_again("home")
    await home.until_too_long(chat(LONG[:12_000], models=(TINY,)))
    await home.asks(home.about(LONG + " And more."))
    assert home.tokens_sent <= 1_948


@pytest.mark.parametrize(
    "change",
    [{"is_local": False}, {"kind": ProviderKind.ANTHROPIC}, {"base_url": None}],
    ids=["elsewhere", "Anthropic's wire", "the vendor's own"],
)
async def test_nobody_else_is_asked(home: Home, change: dict[str, Any]) -> None:
    home.provider = replace(home.provider, **change)
    await home.gateway.check(home.about())
    home.gateway.look_again("home")
    assert home.upstream.listings == 0


async def test_a_model_whose_window_is_listed_is_not_asked_about(home: Home) -> None:
    home.provider = replace(home.provider, kind=ProviderKind.OPENAI)
    await home.gateway.check(home.about(models=("home/gpt-4o-mini",)))
    assert home.upstream.listings == 0
