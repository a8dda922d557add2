"""A provider goes, and comes back, while calls are made: nobody who calls notices."""

import asyncio
from collections.abc import Callable
from itertools import cycle

from app import clock
from app.errors import LLMError
from app.llm.call import Completion
from app.llm.traffic.breaker import CircuitState
from tests.llm.gateway_calls import SPARE, Door, chat, door
from tests.llm.recorder import MODEL
from tests.protocol_server.server import ProtocolServer

CALLERS = 8


class Load:
    """Callers that ask one question after another until they are told to stop."""

    def __init__(self, gateway: Door) -> None:
        self._gateway, self._is_over = gateway, False
        self.answered_by: list[str] = []
        self.faults: list[LLMError] = []
        self._callers = [asyncio.create_task(self._call(number)) for number in range(CALLERS)]

    async def end(self) -> None:
        self._is_over = True
        await asyncio.gather(*self._callers)

    async def _call(self, number: int) -> None:
        own = Door(self._gateway.upstream, self._gateway.gateway)
        own.recorder = self._gateway.recorder
        way = own.stream if number % 2 else own.complete
        while not self._is_over:
            answer = await way(chat(deadline_seconds=20))
            if isinstance(answer, Completion):
                self.answered_by.append(answer.receipt.model)
            else:
                self.faults.append(answer)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Raises TimeoutError."""
        async with asyncio.timeout(20):
            while not condition():
                await clock.sleep(0.01)

    async def until_answered_by(self, model: str, times: int = 2 * CALLERS) -> None:
        start = len(self.answered_by)
        await self.until(lambda: self.answered_by[start:].count(model) >= times)


async def test_a_provider_that_dies_under_load_fails_no_call_and_comes_back_by_itself(upstream: ProtocolServer) -> None:
    async with ProtocolServer() as spare, door(upstream, SPARE, urls={"spare": spare.base_url}) as gateway:
        load = Load(gateway)
        await load.until_answered_by(MODEL)
        await asyncio.to_thread(upstream.go_down, "refused")
        await load.until_answered_by(SPARE, 100)
        assert gateway.gateway.breaker.state(MODEL) is not CircuitState.CLOSED
        await asyncio.to_thread(upstream.go_up)
        await load.until(lambda: gateway.gateway.breaker.state(MODEL) is CircuitState.CLOSED)
        await load.until_answered_by(MODEL)
        await load.end()
        assert load.faults == []
        assert len(gateway.recorder.closed) == len(gateway.recorder.attempts)


async def test_a_provider_that_flaps_fails_no_call(upstream: ProtocolServer) -> None:
    async with ProtocolServer() as spare, door(upstream, SPARE, urls={"spare": spare.base_url}) as gateway:
        load = Load(gateway)
        for fault, _ in zip(cycle(["503", "refused"]), range(6), strict=False):
            await load.until_answered_by(MODEL, 1)
            await asyncio.to_thread(upstream.go_down, fault)
            await load.until_answered_by(SPARE, 1)
            await asyncio.to_thread(upstream.go_up)
        await load.end()
        assert load.faults == []
        calls = len(upstream.calls) + len(spare.calls)
        assert calls <= len(gateway.recorder.closed) == len(gateway.recorder.attempts)


async def test_the_status_tells_how_fast_the_last_answers_came_and_what_failed_last(upstream: ProtocolServer) -> None:
    async with door(upstream) as gateway:
        unused = gateway.gateway.traffic_of("openai")
        assert (unused.latency_p50_ms, unused.last_error_code, unused.last_error_at) == (None, None, None)
        upstream.script("latency=0.1", "latency=0.3", "latency=0.2", "400")
        for _ in range(4):
            await gateway.complete()
        seen = gateway.gateway.traffic_of("openai")
    assert seen.latency_p50_ms is not None and 200 <= seen.latency_p50_ms < 300
    assert seen.last_error_code == "LLM_API_ERROR" and seen.last_error_at is not None
