"""The vendors' code is started once, and again when that failed; what fits a window is cut before it is sent."""

from dataclasses import replace
from typing import Any

import pytest

from app import clock
from app.context.fitting import GAP
from app.errors import LLMContextTooLong, LLMUnreachable
from app.llm.call import Call, Parameters, Spender
from app.llm.extraction import ModelFacts
from app.llm.gateway import Gateway
from app.llm.requests import render
from app.llm.routing import Candidate
from app.llm.routing_rules import load_rules
from app.llm.vendors import client as client_module
from app.llm.vendors.client import LLMClient
from app.llm.vendors.upstreams import build_upstreams
from app.prompts.registry import as_in_files
from app.providers.provider import Provider, ProviderKind
from tests.llm.gateway_calls import chat
from tests.llm.recorder import MODEL, llm_settings, request
from tests.llm.test_gate import Hands
from tests.protocol_server.server import ProtocolServer


async def test_a_start_that_failed_is_tried_again_on_a_later_use(
    upstream: ProtocolServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    hands, start = Hands(), client_module._start_engine
    monkeypatch.setattr("app.llm.vendors.client.clock.local_seconds", hands)
    failures = [OSError("no room"), OSError("no room")]

    async def start_or_fail(settings: Any) -> Any:
        if failures:
            raise failures.pop()
        return await start(settings)

    monkeypatch.setattr(client_module, "_start_engine", start_or_fail)
    client = LLMClient(llm_settings(upstream.base_url))
    for pause in (1.0, 2.0):
        with pytest.raises(LLMUnreachable):
            await client.start()
        left = len(failures)
        with pytest.raises(LLMUnreachable):  # too soon: nothing is tried
            await client.extract(request())
        assert len(failures) == left
        hands.now += pause
    assert (await client.extract(request())).title
    await client.close()


def candidate(window: int | None, kind: ProviderKind = ProviderKind.OPENAI) -> Candidate:
    facts = ModelFacts("openai", context_window=window)
    return Candidate(MODEL, Provider("openai", kind), facts, "")


def enrichment_of(text: str) -> Call:
    prompt = as_in_files("development").get("enrichment")
    bounds = {"title_max_chars": 100, "summary_max_chars": 500, "tag_max_chars": 50, "tags_min": 3, "tags_max": 5}
    return Call(
        task="enrichment",
        prompt=prompt,
        variables=bounds,
        document=text,
        spender=Spender("ann", "enrichment"),
        deadline_seconds=10,
        parameters=Parameters(max_tokens=100),
    )


LONG = " ".join(f"Sentence number {number} of a long note." for number in range(1200))


def test_a_long_document_is_read_at_head_middle_and_tail_and_the_coverage_is_told() -> None:
    rendered = render(enrichment_of(LONG), candidate(3000))
    text = str(rendered.messages[-1]["content"])
    assert 0 < rendered.coverage < 1
    assert "Sentence number 0 " in text and "Sentence number 1199 " in text and GAP.strip() in text


@pytest.mark.parametrize(("window", "kind"), [(128_000, ProviderKind.OPENAI), (None, ProviderKind.OPENAI)])
def test_what_fits_or_may_fit_is_sent_whole(window: int | None, kind: ProviderKind) -> None:
    assert render(enrichment_of(LONG), candidate(window, kind)).coverage == 1


def test_of_a_local_server_that_tells_no_window_little_is_expected() -> None:
    assert render(enrichment_of(LONG), candidate(None, ProviderKind.OPENAI_COMPATIBLE)).coverage < 1


def test_a_window_without_room_for_any_document_is_an_error() -> None:
    with pytest.raises(LLMContextTooLong):
        render(enrichment_of(LONG), candidate(200))


def test_messages_are_sent_as_they_are() -> None:
    call = replace(chat(), document=LONG)
    assert render(call, candidate(200)).messages is call.prompt


@pytest.mark.parametrize("kind", [ProviderKind.OPENAI, ProviderKind.STUB])
async def test_the_vendors_get_ready_beside_the_start_where_a_provider_needs_them(
    kind: ProviderKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[ProviderKind] = []

    async def start(_upstreams: object) -> None:
        started.append(kind)

    monkeypatch.setattr("app.llm.vendors.upstreams.Upstreams.start", start)
    gateway = Gateway(
        llm_settings("http://127.0.0.1:9/v1"),
        build_upstreams(llm_settings("http://127.0.0.1:9/v1")),
        load_rules(None),
        providers=lambda: {"own": Provider("own", kind)},
    )
    async with gateway.warming_up():
        await clock.sleep(0)
    assert started == ([] if kind is ProviderKind.STUB else [kind])
