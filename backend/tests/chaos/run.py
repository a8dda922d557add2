"""One run: build the system, load it, strike it, let it come to rest, and hand the evidence over."""

import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.chaos import evidence as evidence_module
from tests.chaos.clients import Actor, Person, new_http
from tests.chaos.evidence import Evidence, Limits, count_unsettled
from tests.chaos.listener import listen
from tests.chaos.monkey import Monkey
from tests.chaos.operations import ClientLog
from tests.chaos.processes import Server, Upstream
from tests.chaos.scenario import LEASE_SECONDS, Blow, Planned, Scenario, plan_blows
from tests.postgres_cluster import PostgresCluster, find_free_port, postgres_cluster
from tests.protocol_server.calls import read_calls

_ATTEMPTS, _REASKS, _TIMEOUT_SECONDS = 5, 2, 4.0
_PEOPLE, _ACTORS = 4, 8
_UPSTREAM_LATENCY_SECONDS, _FAULT_RATE = 0.15, 0.2
_STUB_DELAY_SECONDS = 0.15
_START_SECONDS, _REST_SECONDS, _HEARD_SECONDS = 60.0, 60.0, 10.0
_LOOK_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a run; `blows` are those that were carried out."""

    evidence: Evidence
    blows: Counter[Blow]
    seconds_to_rest: float | None


@dataclass(slots=True)
class System:
    """Everything that runs during a run."""

    servers: list[Server]
    url: str
    cluster: PostgresCluster | None = None
    upstream: Upstream | None = None
    log: ClientLog = field(default_factory=ClientLog)

    @property
    def addresses(self) -> list[str]:
        return [server.url for server in self.servers]


def run(scenario: Scenario, folder: Path, say: Callable[[str], None]) -> Outcome:
    """`folder` keeps the logs of all processes."""
    with running_system(scenario, folder) as system:
        return asyncio.run(_Run(scenario, system, say).carry_out())


@contextmanager
def running_system(scenario: Scenario, folder: Path) -> Iterator[System]:
    """Started, not yet ready; all of it ended when the block is left."""
    with ExitStack() as stack:
        cluster, upstream = None, None
        url = f"sqlite+aiosqlite:///{folder / 'litevault.db'}"
        if scenario.engine == "postgresql":
            cluster = stack.enter_context(postgres_cluster(durable=False))
            url = cluster.create_database("litevault")
        if scenario.provider == "litellm":
            upstream = Upstream(
                folder, latency_seconds=_UPSTREAM_LATENCY_SECONDS, fault_rate=_FAULT_RATE, seed=scenario.seed
            )
            upstream.start()
            stack.callback(upstream.kill)
        environment = _environment(scenario, url, upstream)
        servers = [Server(index, find_free_port(), environment, folder) for index in range(scenario.servers)]
        for server in servers:
            stack.callback(server.kill)
            server.start()
        yield System(servers, url, cluster, upstream)


def _environment(scenario: Scenario, url: str, upstream: Upstream | None) -> dict[str, str]:
    """Of the servers: nothing of ours but what is named here."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("LITEVAULT_")}
    settings = {
        "LITEVAULT_DATABASE_URL": url,
        "LITEVAULT_LOG_LEVEL": "info",
        "LITEVAULT_WORKER_LEASE_SECONDS": LEASE_SECONDS,
        "LITEVAULT_WORKER_DRAIN_SECONDS": 1,
        "LITEVAULT_WORKER_POLL_SECONDS": 1,
        "LITEVAULT_WORKER_MAX_ATTEMPTS": _ATTEMPTS,
        "LITEVAULT_WORKER_BACKOFF_SECONDS": 0.1,
        "LITEVAULT_WORKER_BACKOFF_MAX_SECONDS": 0.5,
        "LITEVAULT_LLM_PROVIDER": scenario.provider,
        "LITEVAULT_LLM_CONCURRENCY": scenario.concurrency,
        "LITEVAULT_LLM_TIMEOUT_SECONDS": _TIMEOUT_SECONDS,
        "LITEVAULT_LLM_MAX_RETRIES": _REASKS,
        "LITEVAULT_LLM_STUB_DELAY_SECONDS": _STUB_DELAY_SECONDS,
        "LITEVAULT_LLM_STUB_FAILURE": "LLM_API_ERROR" if upstream is None else "",
        "LITEVAULT_LLM_STUB_FAILURE_RATE": _FAULT_RATE,
        "LITEVAULT_LLM_API_BASE": upstream.base_url if upstream else "",
        "OPENAI_API_KEY": "sk-chaos",
    }
    return inherited | {name: str(value) for name, value in settings.items()}


class _Run:
    def __init__(self, scenario: Scenario, system: System, say: Callable[[str], None]) -> None:
        self._scenario, self._system, self._say = scenario, system, say
        self._monkey = Monkey(system.servers, system.cluster, say, is_ready)

    async def carry_out(self) -> Outcome:
        began = time.monotonic()
        await self._wait_until_ready()
        self._say(f"  ready after {time.monotonic() - began:.1f} s")
        listeners = [
            asyncio.create_task(listen(name, self._system.addresses, self._system.log, self._rng(f"listener {name}")))
            for name in self._names()
        ]
        try:
            await self._load_and_strike(plan_blows(self._scenario))
            rested = await self._come_to_rest()
            rows = await evidence_module.read_rows(self._system.url)
            await self._hear_the_rest(len(rows["events"]))
        finally:
            for task in listeners:
                task.cancel()
            await asyncio.gather(*listeners, return_exceptions=True)
        upstream = self._system.upstream
        calls = read_calls(upstream.calls_path) if upstream is not None else None
        limits = Limits(_ATTEMPTS, 1 + _REASKS if upstream is not None else 1)
        found = evidence_module.gather(rows, self._system.log, limits, calls)
        found.notes += self._monkey.complaints + ([] if rested else [f"not at rest after {_REST_SECONDS:g} s"])
        return Outcome(found, self._monkey.done, rested)

    def _names(self) -> list[str]:
        return [f"person{number}" for number in range(_PEOPLE)]

    def _rng(self, purpose: str) -> random.Random:
        return self._scenario.rng(purpose)

    async def _load_and_strike(self, plan: list[Planned]) -> None:
        stop = asyncio.Event()
        # Ten of 26 acts are a create.
        pause_seconds = _PEOPLE * _ACTORS * 0.38 / self._scenario.posts_a_second
        async with new_http() as http:
            tasks = []
            for name in self._names():
                person = Person(name)
                for number in range(_ACTORS):
                    rng = self._rng(f"actor {name} {number}")
                    actor = Actor(person, f"{name}-{number}", http, self._system.addresses, self._system.log, rng)
                    tasks.append(asyncio.create_task(actor.act_until(stop, pause_seconds=pause_seconds)))
            raging = asyncio.create_task(self._monkey.rage(plan))
            await asyncio.sleep(self._scenario.seconds)
            await raging
            stop.set()
            await asyncio.gather(*tasks)

    async def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        for server in self._system.servers:
            while not await is_ready(server):
                if time.monotonic() > deadline or not server.is_running:
                    raise RuntimeError(f"{server.name} did not become ready; see {server.log}")
                await asyncio.sleep(_LOOK_SECONDS)

    async def _come_to_rest(self) -> float | None:
        """Seconds until nothing was in work any more and every server was ready; None when that did not come."""
        self._say("  blows and load are over; waiting for rest")
        began = time.monotonic()
        working, still_open, unready = 0, 0, list[str]()
        while time.monotonic() < began + _REST_SECONDS:
            working, still_open = await count_unsettled(self._system.url)
            for server in self._system.servers:
                self._monkey.supervise(server)
            unready = [server.name for server in self._system.servers if not await is_ready(server)]
            if not (working or still_open or unready):
                return time.monotonic() - began
            await asyncio.sleep(_LOOK_SECONDS)
        self._say(f"  no rest: {working} items in work, {still_open} attempts open, not ready: {unready}")
        self._monkey.complaints += [f"{name} did not become ready again" for name in unready]
        return None

    async def _hear_the_rest(self, events: int) -> None:
        deadline = time.monotonic() + _HEARD_SECONDS
        heard = self._system.log.heard
        while time.monotonic() < deadline:
            if sum(map(len, heard.values())) >= events:
                return
            await asyncio.sleep(_LOOK_SECONDS)


async def is_ready(server: Server) -> bool:
    try:
        async with httpx.AsyncClient(timeout=2) as http:
            return (await http.get(f"{server.url}/readyz")).status_code == 200
    except httpx.TransportError:
        return False
