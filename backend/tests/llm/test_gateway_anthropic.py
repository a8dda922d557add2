"""Anthropic's wire through the gateway: the same policy, and books that agree with the vendor's bill to the token."""

import pytest

from app.enrichment.schemas import EnrichmentSchema
from app.errors import (
    LLMAuthRefused,
    LLMContentRefused,
    LLMContextTooLong,
    LLMError,
    LLMInvalidAnswer,
    LLMModelNotFound,
    LLMRateLimited,
    LLMTimeout,
)
from app.llm.call import Completion, Extracted, Finished, Parameters, Restarted
from app.llm.faults import QUOTA_WAIT_SECONDS
from tests.llm.gateway_calls import CLAUDE, SPARE, Door, chat, door
from tests.llm.recorder import billed
from tests.protocol_server.server import ProtocolServer

FIRST, OTHER = "claude-haiku-4-5", "gpt-4o"
PATIENCE = {"first_token_seconds": 0.5, "stall_seconds": 0.5, "try_seconds": 2}
WAYS = ["extract", "complete", "stream"]


async def answer_of(gateway: Door, way: str) -> Completion | Extracted[EnrichmentSchema] | LLMError:
    call = chat(parameters=Parameters(max_tokens=500))
    if way == "stream":
        return await gateway.stream(call)
    if way == "complete":
        return await gateway.complete(call)
    try:
        return await gateway.gateway.extract(call, EnrichmentSchema, gateway.recorder)
    except LLMError as fault:
        return fault


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("fault", ["ok", "cached", "cache_write", "cached+cache_write"])
async def test_the_books_hold_what_the_vendor_bills(fault: str, way: str, upstream: ProtocolServer) -> None:
    async with door(upstream, model=CLAUDE, rules=PATIENCE) as gateway:
        upstream.script(fault)
        answer = await answer_of(gateway, way)
        assert not isinstance(answer, LLMError), answer
        assert [call.wire for call in upstream.calls] == ["anthropic"]
        assert gateway.recorder.tokens == billed(upstream.calls)
        [cached] = [attempt.usage.cached_tokens for attempt in gateway.recorder.attempts]
        assert (cached or 0) > 0 if fault.startswith("cached") else not cached
        assert answer.receipt.cost_usd is not None


@pytest.mark.parametrize("way", WAYS)
async def test_an_answer_that_counts_nothing_is_an_answer_of_unknown_cost(way: str, upstream: ProtocolServer) -> None:
    async with door(upstream, model=CLAUDE, rules=PATIENCE) as gateway:
        upstream.script("no_usage")
        answer = await answer_of(gateway, way)
        assert not isinstance(answer, LLMError), answer
        assert (gateway.recorder.outcomes, gateway.recorder.tokens) == (["OK"], [(None, None)])
        assert answer.receipt.cost_usd is None and len(upstream.calls) == 1


async def test_a_form_is_asked_for_as_a_tool_where_the_settings_say_so(upstream: ProtocolServer) -> None:
    async with door(upstream, model=CLAUDE, structured_mode="tools") as gateway:
        upstream.script("tags_2", "ok")
        answer = await answer_of(gateway, "extract")
        assert isinstance(answer, Extracted), answer
        assert [call.mode for call in upstream.calls] == ["tools", "tools"]
        assert gateway.recorder.outcomes == ["INVALID", "OK"]
        assert gateway.recorder.tokens == billed(upstream.calls)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("fault", ["529", "500", "503_retry_after=1+529", "429_retry_after=1"])
async def test_what_passes_is_tried_once_more_and_not_behind_our_back(
    fault: str, way: str, upstream: ProtocolServer
) -> None:
    async with door(upstream, model=CLAUDE, rules=PATIENCE) as gateway:
        upstream.script(fault)
        assert not isinstance(await answer_of(gateway, way), LLMError)
        assert gateway.asked == [FIRST, FIRST]
        assert gateway.recorder.tokens == billed(upstream.calls)
        assert gateway.gaps[0] > (1 if "retry_after" in fault else 0)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("fault", ["reset", "reset_body"])
async def test_a_broken_connection_is_one_call_on_the_books_and_upstream(
    fault: str, way: str, upstream: ProtocolServer
) -> None:
    async with door(upstream, SPARE, model=CLAUDE, rules=PATIENCE) as gateway:
        upstream.script(fault, fault, model=FIRST)
        assert not isinstance(await answer_of(gateway, way), LLMError)
        assert gateway.asked == [FIRST, FIRST, OTHER]
        assert len(gateway.recorder.closed) == 3


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("refusal", LLMContentRefused),
        ("content_filter", LLMContentRefused),
        ("401", LLMAuthRefused),
        ("404", LLMModelNotFound),
        ("400_context", LLMContextTooLong),
        ("429_quota", LLMRateLimited),
    ],
)
async def test_what_is_refused_is_told_apart_and_asked_once(
    fault: str, kind: type[LLMError], way: str, upstream: ProtocolServer
) -> None:
    async with door(upstream, model=CLAUDE, rules=PATIENCE) as gateway:
        upstream.script(fault)
        told = await answer_of(gateway, way)
        assert type(told) is kind
        assert gateway.asked == [FIRST]
        assert gateway.recorder.tokens == billed(upstream.calls)
        if kind is LLMRateLimited:
            assert told.http_status == 402
            assert told.retry_after_seconds == pytest.approx(QUOTA_WAIT_SECONDS, abs=1)


@pytest.mark.parametrize(
    ("fault", "asked", "restarts"),
    [
        ("stream_error=3", [FIRST, FIRST], 1),
        ("stream_reset=3", [FIRST, FIRST], 1),
        ("stream_end=3", [FIRST, FIRST], 1),
        ("stream_malformed=3", [FIRST, FIRST], 1),
        ("stream_empty", [FIRST, FIRST], 0),
        ("stream_stall=3", [FIRST, OTHER], 1),
        ("stream_pings", [FIRST, OTHER], 0),
        ("hang_headers", [FIRST, OTHER], 0),
    ],
)
async def test_a_stream_that_breaks_begins_anew_and_ends_whole(
    fault: str, asked: list[str], restarts: int, upstream: ProtocolServer
) -> None:
    async with door(upstream, SPARE, model=CLAUDE, rules=PATIENCE) as gateway:
        upstream.script(fault, model=FIRST)
        answer = await gateway.stream()
        assert isinstance(answer, Completion), answer
        assert gateway.asked == asked
        assert sum(isinstance(event, Restarted) for event in gateway.events) == restarts
        assert gateway.text_read == answer.content
        assert gateway.recorder.tokens[-1] == billed(upstream.calls)[-1]


async def test_a_stream_without_message_stop_is_whole_by_its_stop_reason(upstream: ProtocolServer) -> None:
    async with door(upstream, model=CLAUDE, rules=PATIENCE) as gateway:
        upstream.script("stream_no_done")
        assert isinstance(await gateway.stream(), Completion)
        assert gateway.recorder.tokens == billed(upstream.calls)


async def test_a_stall_is_told_and_never_ends_in_a_cut_answer(upstream: ProtocolServer) -> None:
    async with door(upstream, model=CLAUDE, rules=PATIENCE) as gateway:
        upstream.script("stream_stall=3")
        assert isinstance(await gateway.stream(), LLMTimeout)
        assert not any(isinstance(event, Finished) for event in gateway.events)


async def test_an_answer_that_is_too_large_is_not_read(upstream: ProtocolServer) -> None:
    async with door(upstream, model=CLAUDE, rules=PATIENCE) as gateway:
        upstream.script("huge=9")
        assert isinstance(await gateway.complete(), LLMInvalidAnswer)
        assert gateway.asked == [FIRST]
