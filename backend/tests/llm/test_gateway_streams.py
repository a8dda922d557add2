"""Streams through the gateway: whole answers or clear errors, whatever the upstream does on the way."""

import asyncio
import time
from contextlib import aclosing

import pytest

from app.errors import LLMContentRefused, LLMError, LLMTimeout, LLMUnreachable
from app.llm.call import Completion, Delta, Finished, Parameters, Restarted
from tests.llm.gateway_calls import SPARE, chat, door
from tests.llm.recorder import MODEL, billed
from tests.protocol_server.server import ProtocolServer

FIRST, OTHER = "gpt-4o-mini", "gpt-4o"
PATIENCE = {"first_token_seconds": 0.5, "stall_seconds": 0.5}


async def test_a_stream_passes_the_pieces_on_and_ends_with_its_receipt(upstream: ProtocolServer) -> None:
    async with door(upstream) as gateway:
        answer = await gateway.stream()
        assert isinstance(answer, Completion)
        assert gateway.text_read == answer.content != ""
        assert answer.finish_reason == "stop"
        assert (answer.receipt.model, answer.receipt.provider) == (MODEL, "openai")
        assert gateway.recorder.tokens == billed(upstream.calls)
        assert answer.receipt.cost_usd is not None


async def test_the_same_question_gives_the_same_answer_whole_and_in_pieces(upstream: ProtocolServer) -> None:
    async with door(upstream) as gateway:
        streamed, whole = await gateway.stream(), await gateway.complete()
        assert isinstance(streamed, Completion) and isinstance(whole, Completion)
        assert streamed.content == whole.content


@pytest.mark.parametrize(
    ("fault", "asked", "restarts"),
    [
        ("stream_reset=3", [FIRST, FIRST], 1),
        ("stream_end=3", [FIRST, FIRST], 1),
        ("stream_error=3", [FIRST, FIRST], 1),
        ("stream_malformed=3", [FIRST, FIRST], 1),
        ("stream_reset=0", [FIRST, FIRST], 0),
        ("stream_empty", [FIRST, FIRST], 0),
        ("unstreamed", [FIRST, FIRST], 0),
        ("500", [FIRST, FIRST], 0),
        ("stream_stall=3", [FIRST, OTHER], 1),
        ("stream_hang", [FIRST, OTHER], 0),
        ("stream_pings", [FIRST, OTHER], 0),
        ("stream_slow_first=3", [FIRST, OTHER], 0),
        ("hang_headers", [FIRST, OTHER], 0),
    ],
)
async def test_what_breaks_or_falls_silent_begins_anew_and_ends_whole(
    fault: str, asked: list[str], restarts: int, upstream: ProtocolServer
) -> None:
    async with door(upstream, SPARE, rules=PATIENCE) as gateway:
        upstream.script(fault, model=FIRST)
        answer = await gateway.stream()
        assert isinstance(answer, Completion), answer
        assert gateway.asked == asked
        assert sum(isinstance(event, Restarted) for event in gateway.events) == restarts
        assert gateway.text_read == answer.content
        assert gateway.recorder.closed == gateway.recorder.attempts


async def test_an_end_without_its_marker_is_an_end(upstream: ProtocolServer) -> None:
    async with door(upstream, rules=PATIENCE) as gateway:
        upstream.script("stream_no_done")
        assert isinstance(await gateway.stream(), Completion)
        assert len(gateway.asked) == 1
        assert gateway.recorder.tokens == billed(upstream.calls)


@pytest.mark.parametrize("fault", ["content_filter", "refusal"])
async def test_refused_content_is_not_offered_to_another_model(fault: str, upstream: ProtocolServer) -> None:
    async with door(upstream, SPARE) as gateway:
        upstream.script(fault)
        assert isinstance(await gateway.stream(), LLMContentRefused)
        assert gateway.asked == [FIRST]


@pytest.mark.parametrize(
    ("fault", "kind", "calls"),
    [("stream_stall=2", LLMTimeout, 1), ("stream_reset=2", LLMUnreachable, 2), ("stream_end=2", LLMUnreachable, 2)],
)
async def test_a_cut_answer_is_never_given_as_a_whole_one(
    fault: str, kind: type[LLMError], calls: int, upstream: ProtocolServer
) -> None:
    async with door(upstream, rules=PATIENCE) as gateway:
        upstream.set_default(fault)
        assert type(await gateway.stream()) is kind
        assert len(gateway.asked) == calls
        assert not any(isinstance(event, Finished) for event in gateway.events)


async def test_an_endless_stream_ends_with_the_deadline(upstream: ProtocolServer) -> None:
    async with door(upstream, SPARE, rules=PATIENCE) as gateway:
        upstream.script("stream_endless")
        started = time.monotonic()
        assert isinstance(await gateway.stream(chat(deadline_seconds=1)), LLMTimeout)
        assert time.monotonic() - started < 1.5
        assert await asyncio.to_thread(upstream.wait_idle, 1.0)


async def test_who_leaves_cancels_the_call_upstream_and_settles_the_books(upstream: ProtocolServer) -> None:
    async with door(upstream) as gateway:
        upstream.script("stream_endless")
        async with aclosing(gateway.gateway.stream(chat(), gateway.recorder)) as events:
            async for event in events:
                assert isinstance(event, Delta)
                break
        assert await asyncio.to_thread(upstream.wait_idle, 1.0)
        assert upstream.calls[0].has_hung_up
        assert gateway.recorder.outcomes == ["CANCELLED"]
        assert gateway.recorder.closed == gateway.recorder.attempts


async def test_a_reader_that_is_cancelled_cancels_the_call_upstream(upstream: ProtocolServer) -> None:
    async with door(upstream) as gateway:
        upstream.script("stream_hang")
        reading = asyncio.create_task(gateway.stream())
        async with asyncio.timeout(5):
            while not upstream.calls:
                await asyncio.to_thread(upstream.wait_idle, 0.01)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert await asyncio.to_thread(upstream.wait_idle, 1.0)
        assert gateway.recorder.outcomes == ["CANCELLED"]


async def test_the_first_piece_passes_on_while_the_rest_is_still_awaited(upstream: ProtocolServer) -> None:
    async with door(upstream) as gateway:
        upstream.script("stream_endless=0.2")
        async with aclosing(gateway.gateway.stream(chat(), gateway.recorder)) as events:
            await anext(events)
            read_at = time.monotonic()
        sent_at = upstream.calls[0].first_byte_monotonic
        assert sent_at is not None
        assert read_at - sent_at < 0.1
        assert gateway.recorder.attempts[0].first_token_ms is not None


async def test_tool_calls_come_in_pieces_and_whole(upstream: ProtocolServer) -> None:
    tool = {"type": "function", "function": {"name": "file", "parameters": {"type": "object", "properties": {}}}}
    asked = chat(parameters=Parameters(tools=(tool,), tool_choice={"type": "function", "function": {"name": "file"}}))
    async with door(upstream) as gateway:
        streamed, whole = await gateway.stream(asked), await gateway.complete(asked)
        assert isinstance(streamed, Completion) and isinstance(whole, Completion)
        assert [call.name for call in streamed.tool_calls] == ["file"]
        assert [call.arguments for call in streamed.tool_calls] == [call.arguments for call in whole.tool_calls]
        pieces = [piece for event in gateway.events if isinstance(event, Delta) for piece in event.tool_calls]
        assert "".join(piece.arguments for piece in pieces) == streamed.tool_calls[0].arguments
        assert streamed.finish_reason == whole.finish_reason
