"""The client against a real server: re-asks, deadline, cancellation, the lease, its thread."""

import asyncio
import subprocess
import sys
import threading
import time
from decimal import Decimal
from pathlib import Path

import pytest

from app.errors import LeaseLost, LLMApiError, LLMTimeout, LLMUnreachable
from app.llm.attempts import UNSAID, Attempt, Purpose
from tests.llm.conftest import MakeClient
from tests.llm.recorder import KEY, Recorder, billed, request
from tests.protocol_server.answers import digest_of
from tests.protocol_server.server import ProtocolServer

BACKEND = Path(__file__).parents[2]


@pytest.mark.parametrize("mode", ["tools", "json_schema", "md_json"])
async def test_an_invalid_answer_is_repaired_by_a_re_ask(
    mode: str, upstream: ProtocolServer, make_client: MakeClient
) -> None:
    client, recorder = await make_client(structured_mode=mode), Recorder()
    upstream.script("tags_2", "nul_title", "ok")

    answer = await client.extract(request(), recorder)

    assert len(answer.tags) >= 3
    assert [call.mode for call in upstream.calls] == [mode] * 3
    assert recorder.outcomes == ["INVALID", "INVALID", "OK"]
    assert recorder.tokens == billed(upstream.calls)


@pytest.mark.parametrize("max_reasks", [0, 1, 3])
async def test_there_are_as_many_re_asks_as_set(
    max_reasks: int, upstream: ProtocolServer, make_client: MakeClient
) -> None:
    client = await make_client()
    upstream.set_default("tags_7")

    with pytest.raises(Exception, match="required form"):
        await client.extract(request(max_reasks=max_reasks))

    assert len(upstream.calls) == 1 + max_reasks


async def test_a_refusal_in_a_re_ask_ends_the_run(upstream: ProtocolServer, make_client: MakeClient) -> None:
    client, recorder = await make_client(), Recorder()
    upstream.script("tags_2", "503")

    with pytest.raises(LLMUnreachable):
        await client.extract(request(), recorder)

    assert recorder.outcomes == ["INVALID", "ERROR"]


@pytest.mark.parametrize(
    ("model", "mode"),
    [("openai/gpt-4o-mini", "json_schema"), ("openai/gpt-3.5-turbo", "tools"), ("openai/my-own", "md_json")],
)
async def test_the_mode_is_the_best_that_the_model_is_known_to_take(
    model: str, mode: str, upstream: ProtocolServer, make_client: MakeClient
) -> None:
    client = await make_client(structured_mode="auto")
    await client.extract(request(model=model))
    assert upstream.calls[0].mode == mode


async def test_prices_are_of_the_model_and_unknown_is_not_zero(make_client: MakeClient) -> None:
    client, known, unknown = await make_client(), Recorder(), Recorder()

    await client.extract(request(), known)
    await client.extract(request(model="openai/my-own"), unknown)

    assert known.attempts[0].usage.input_price_usd == Decimal("0.00000015")
    assert known.attempts[0].usage.cost_usd is not None
    assert unknown.attempts[0].usage.input_tokens is not None
    assert unknown.attempts[0].usage.cost_usd is None


async def test_a_reasoning_model_is_not_sent_a_temperature(make_client: MakeClient) -> None:
    client = await make_client()
    answer = await client.extract(request(model="openai/gpt-5-mini"))
    assert answer.title


async def test_an_unknown_provider_is_an_error_without_a_call(
    upstream: ProtocolServer, make_client: MakeClient
) -> None:
    client, recorder = await make_client(), Recorder()
    with pytest.raises(LLMApiError):
        await client.extract(request(model="nonsense/model"), recorder)
    assert recorder.attempts == [] == upstream.calls


async def test_the_key_of_the_settings_is_sent(upstream: ProtocolServer, make_client: MakeClient) -> None:
    client = await make_client()
    await client.extract(request())
    assert upstream.calls[0].key_sha256 == digest_of(KEY)


@pytest.mark.parametrize("fault", ["hang_headers", "hang_body", "slow_body=5", "latency=0.2+tags_2"])
async def test_the_deadline_holds_over_the_whole_run(
    fault: str, upstream: ProtocolServer, make_client: MakeClient
) -> None:
    client = await make_client()
    await client.extract(request())
    upstream.set_default(fault)
    started = time.monotonic()

    with pytest.raises(LLMTimeout):
        await client.extract(request(timeout_seconds=0.5, max_reasks=9))

    assert 0.5 <= time.monotonic() - started < 0.6


async def test_a_cancellation_reaches_the_upstream_at_once(upstream: ProtocolServer, make_client: MakeClient) -> None:
    client, recorder = await make_client(), Recorder()
    upstream.set_default("hang_headers")
    run = asyncio.create_task(client.extract(request(timeout_seconds=60), recorder))
    await _first_call(upstream)

    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run

    assert await asyncio.to_thread(upstream.wait_idle, 1.0)
    assert upstream.calls[0].has_hung_up
    assert recorder.outcomes == ["CANCELLED"]
    assert recorder.closed == recorder.attempts


async def test_a_cancellation_while_the_attempt_is_opened_leaves_nothing_open(
    upstream: ProtocolServer, make_client: MakeClient
) -> None:
    client, recorder = await make_client(), _SlowRecorder()
    run = asyncio.create_task(client.extract(request(), recorder))
    await recorder.is_opening.wait()

    run.cancel()
    for _ in range(3):  # there and back, until the cancellation has reached all that it can reach
        await asyncio.wrap_future(client._background.submit(_pass_by()))
    recorder.may_open.set()
    with pytest.raises(asyncio.CancelledError):
        await run

    assert recorder.outcomes == ["CANCELLED"]
    assert upstream.calls == []


async def _pass_by() -> None:
    """Nothing but a way to the client's loop and back."""


class _SlowRecorder(Recorder):
    """Its commit takes until it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.is_opening, self.may_open = asyncio.Event(), asyncio.Event()

    async def open(self, *, provider: str, model: str, purpose: Purpose = UNSAID) -> Attempt:
        self.is_opening.set()
        await self.may_open.wait()
        return await super().open(provider=provider, model=model, purpose=purpose)


@pytest.mark.parametrize(("lost_at", "calls"), [(1, 0), (2, 1)])
async def test_a_lost_lease_stops_the_run_before_the_call(
    lost_at: int, calls: int, upstream: ProtocolServer, make_client: MakeClient
) -> None:
    client, recorder = await make_client(), Recorder(lost_at)
    upstream.set_default("tags_2")

    with pytest.raises(LeaseLost) as caught:
        await client.extract(request(), recorder)

    assert caught.value is recorder.lease_lost
    assert len(upstream.calls) == calls
    assert recorder.closed == recorder.attempts


async def test_a_hundred_calls_at_once_are_all_answered_and_booked(
    upstream: ProtocolServer, make_client: MakeClient
) -> None:
    client = await make_client()
    recorders = [Recorder() for _ in range(100)]

    texts = [f"Note number {number} about the harbour." for number in range(100)]
    await asyncio.gather(*[client.extract(request(text), r) for text, r in zip(texts, recorders, strict=True)])

    booked = sorted(recorder.tokens[0] for recorder in recorders)
    assert booked == sorted(billed(upstream.calls))
    assert len({call.first_text_sha256 for call in upstream.calls}) == 100


async def test_closing_ends_the_calls_under_way_and_the_threads(
    upstream: ProtocolServer, make_client: MakeClient
) -> None:
    client, recorder = await make_client(), Recorder()
    upstream.set_default("hang_body")
    run = asyncio.create_task(client.extract(request(timeout_seconds=60), recorder))
    await _first_call(upstream)

    await client.close()

    with pytest.raises(LLMUnreachable):
        await run
    assert recorder.outcomes == ["CANCELLED"]
    assert not [thread for thread in threading.enumerate() if thread.name == "llm-client"]
    await client.close()


@pytest.mark.slow
def test_a_process_that_has_called_leaves_without_a_word(upstream: ProtocolServer) -> None:
    script = f"""
import asyncio
from app.llm.vendors.client import LLMClient
from tests.llm.recorder import llm_settings, request
async def main():
    client = LLMClient(llm_settings({upstream.base_url!r}))
    run = asyncio.create_task(client.extract(request("[[fault:hang_body]]", timeout_seconds=60)))
    await client.extract(request())
    run.cancel()
    await client.close()
asyncio.run(main())
"""
    left = subprocess.run(
        [sys.executable, "-W", "always", "-c", script],
        cwd=BACKEND,
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert left.stdout == left.stderr == b""


def test_making_a_client_imports_no_vendor() -> None:
    script = """
import sys
from app.enrichment.providers import build_provider
from app.prompts.registry import as_in_files
from app.config import LLMSettings
build_provider(LLMSettings(provider="litellm"), as_in_files("development"))
print([name for name in ("litellm", "instructor", "openai", "aiohttp") if name in sys.modules])
"""
    told = subprocess.run([sys.executable, "-c", script], cwd=BACKEND, capture_output=True, check=True, timeout=60)
    assert told.stdout.strip() == b"[]"


async def _first_call(upstream: ProtocolServer) -> None:
    async with asyncio.timeout(5):
        while not upstream.calls:
            await asyncio.to_thread(upstream.wait_idle, 0.01)
