"""What the gateway adds to a call, beside the proxy of LiteLLM and beside no gateway at all, on a provider of 200 ms.

The time that the upstream itself takes is measured in each round, by the same clients, and is what the others are
compared with. Places take turns within a round, so that what else the machine does meets all of them.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import orjson

from benchmarks.figure import Figure
from benchmarks.load import NUMBER, Answers, Load, generate
from benchmarks.places import WORDS
from benchmarks.processes import Server, ready, start_vault
from benchmarks.proxy import ALIVE, NotInstalled, installed_proxy, start_proxy
from benchmarks.run import Run
from benchmarks.upstream import MODEL

_LATENCY_SECONDS = "0.2"
_LIMIT_SECONDS = 120
_TEXT = f"Question {NUMBER}. {WORDS}"
_ASK = [{"role": "user", "content": _TEXT}]
_OURS = ("chat", "query")


@dataclass(frozen=True, slots=True)
class _Taken:
    """Of one place in one round, in milliseconds; `stall` is the worst that a cheap request waited meanwhile."""

    p50: float
    p99: float
    worst: float
    rate: float
    cpu: float = 0.0
    stall: float = 0.0


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the calls go: this server, or without one the upstream itself, to whose port the load is addressed."""

    path: str
    body: str
    headers: dict[str, str] = field(default_factory=dict)
    server: Server | None = None
    alive: str = "/healthz"

    async def take(self, load: Load) -> _Taken:
        sent = replace(load, path=self.path, method="POST", body=self.body, headers=self.headers)
        server = self.server
        if server is None:
            return _taken(await generate(sent))
        before = server.cpu_seconds()
        # Not beside a few calls: there it would cost as much as they do.
        pause = load.seconds if load.rate else 0.02
        feeling = Load(server.port, self.alive, clients=1, seconds=load.seconds, pause=pause)
        answers, felt = await asyncio.gather(generate(replace(sent, port=server.port)), generate(feeling))
        cpu = (server.cpu_seconds() - before) * 1000 / answers.statuses["200"]
        return replace(_taken(answers), cpu=cpu, stall=felt.worst)


@dataclass(frozen=True, slots=True)
class _Bare:
    """The caller's own process: see `benchmarks.bare_calls`."""

    kind: str

    async def take(self, load: Load) -> _Taken:
        facts = {"clients": load.clients, "rate": load.rate, "seconds": load.seconds, "body": _TEXT}
        command = [sys.executable, "-m", "benchmarks.bare_calls", self.kind, _address(load.port), MODEL]
        child = await asyncio.create_subprocess_exec(
            *command, orjson.dumps(facts).decode(), stdout=asyncio.subprocess.PIPE
        )
        try:
            async with asyncio.timeout(_LIMIT_SECONDS):
                output, _ = await child.communicate()
        finally:
            if child.returncode is None:
                child.kill()
        return _Taken(**orjson.loads(output))


_Places = Mapping[str, _Place | _Bare]
_Rounds = dict[str, list[_Taken]]


async def gateway(run: Run) -> list[Figure]:
    """Latency added to a call, CPU a call and worst stall of the loop, beside LiteLLM's proxy: at 20/s, 100 at once."""
    seconds = run.size(8, 4)
    async with AsyncExitStack() as stack:
        port = await stack.enter_async_context(_upstream())
        crowd = Load(port, "", clients=100, seconds=seconds)
        calm = replace(crowd, rate=20)
        places = await _places(run, stack, port)
        for place in places.values():
            if isinstance(place, _Place):
                await place.take(replace(crowd, clients=20, seconds=2))
        at_rest = await _rounds(run, "20/s", places, calm)
        crowded = await _rounds(run, "100 at once", places, crowd)
    return [
        *_added(at_rest, "20/s"),
        *_over(at_rest, "20/s", "sdk", share="p50", target=10),
        *_added(crowded, "100 at once"),
        *_over(crowded, "100 at once", "litellm", share="p50", target=100),
        *_over(crowded, "100 at once", "litellm", share="p99", target=100),
        *_costs(at_rest, "20/s"),
        *_costs(crowded, "100 at once"),
        *_rates(crowded),
        *_stalls(crowded),
    ]


async def _places(run: Run, stack: AsyncExitStack, port: int) -> _Places:
    vault = await stack.enter_async_context(ready(await _vault(run, port)))
    chat, query = {"model": MODEL, "messages": _ASK}, {"messages": _ASK, "waitSeconds": 30}
    places: dict[str, _Place | _Bare] = {
        "upstream": _Place("/v1/chat/completions", _json(chat)),
        "sdk": _Bare("sdk"),
        "litellm": _Bare("litellm"),
        "chat": _Place("/v1/chat/completions", _json({**chat, "model": f"openai/{MODEL}"}), server=vault),
        "query": _Place("/api/v1/llm/query", _json(query), server=vault),
    }
    try:
        program = await installed_proxy()
    except NotInstalled as reason:
        run.say(f"WITHOUT the LiteLLM proxy, which could not be installed: {reason}")
        return places
    folder = Path(stack.enter_context(TemporaryDirectory(prefix="litevault-bench-")))
    server, key = start_proxy(program, folder, model=MODEL, upstream=_address(port))
    await stack.enter_async_context(ready(server, ALIVE))
    headers = {"Authorization": f"Bearer {key}"}
    return {**places, "proxy": _Place("/v1/chat/completions", _json(chat), headers, server, ALIVE)}


async def _vault(run: Run, port: int) -> Server:
    place = await run.places.fresh("sqlite")
    llm = {"llm_provider": "litellm", "llm_model": f"openai/{MODEL}", "llm_api_base": _address(port)}
    return start_vault(place, **llm, OPENAI_API_KEY="bench")


async def _rounds(run: Run, name: str, places: _Places, load: Load) -> _Rounds:
    found: _Rounds = {kind: [] for kind in places}
    for _ in range(run.size(3, 1)):
        for kind, place in places.items():
            taken = await place.take(load)
            found[kind].append(taken)
            run.say(
                f"{name}, {kind}: {taken.rate:.0f}/s, p50 {taken.p50:.1f} ms, p99 {taken.p99:.1f} ms,"
                f" CPU {taken.cpu:.2f} ms a call, worst stall {taken.stall:.0f} ms"
            )
    return found


def _added(rounds: _Rounds, name: str) -> list[Figure]:
    """Over the time that the upstream takes."""
    figures = []
    for kind in ("sdk", "litellm"):
        p50, p99 = (_more(rounds, kind, "upstream", share) for share in ("p50", "p99"))
        figures.append(Figure(f"{name}: {kind} adds, p50", p50, "ms", is_better="less"))
        figures.append(Figure(f"{name}: {kind} adds, p99", p99, "ms", is_better="less"))
    for kind in _OURS:
        for share in ("p50", "p99"):
            value = _more(rounds, kind, "upstream", share)
            figures.append(_beside_proxy(f"{name}: {kind} adds, {share}", value, rounds, share))
    return figures


def _beside_proxy(name: str, value: float, rounds: _Rounds, share: str) -> Figure:
    if "proxy" not in rounds:
        return Figure(name, value, "ms", is_better="less")
    bound = _more(rounds, "proxy", "upstream", share)
    return Figure(name, value, "ms", bound, "LiteLLM proxy", 1, "less", of_bound=True)


def _over(rounds: _Rounds, name: str, bound: str, *, share: str, target: float) -> list[Figure]:
    figures = []
    for kind in _OURS:
        value = _more(rounds, kind, bound, share)
        figures.append(Figure(f"{name}: {kind} over {bound}, {share}", value, "ms", target=target, is_better="less"))
    return figures


def _costs(rounds: _Rounds, name: str) -> list[Figure]:
    cost = {kind: median(taken.cpu for taken in rounds[kind]) for kind in rounds}
    bound, bound_name = (cost["proxy"], "LiteLLM proxy") if "proxy" in cost else (None, "")
    figures = [Figure(f"{name}: CPU a call, {kind}", cost[kind], "ms", is_better="less") for kind in ("sdk", "litellm")]
    target = 1 if bound else None
    figures += [
        Figure(f"{name}: CPU a call, {kind}", cost[kind], "ms", bound, bound_name, target, "less", of_bound=True)
        for kind in _OURS
    ]
    return figures


def _rates(rounds: _Rounds) -> list[Figure]:
    """All of them with 100 calls under way."""
    rate = {kind: median(taken.rate for taken in rounds[kind]) for kind in rounds}
    return [Figure(f"100 at once: calls, {kind}", rate[kind], "/s", rate["litellm"], "litellm itself") for kind in rate]


def _stalls(rounds: _Rounds) -> list[Figure]:
    """A cheap request beside the calls waits for the loop, and for the processor."""
    worst = {kind: max(taken.stall for taken in rounds[kind]) for kind in rounds}
    bound, bound_name = (worst["proxy"], "LiteLLM proxy") if "proxy" in worst else (None, "")
    return [
        Figure(f"100 at once: worst stall, {kind}", worst[kind], "ms", bound, bound_name, is_better="less")
        for kind in _OURS
    ]


def _more(rounds: _Rounds, kind: str, bound: str, share: str) -> float:
    """The middle of what it was more, round by round."""
    pairs = zip(rounds[kind], rounds[bound], strict=True)
    return float(median(getattr(one, share) - getattr(other, share) for one, other in pairs))


def _taken(answers: Answers) -> _Taken:
    """A latency of refusals would look splendid."""
    assert set(answers.statuses) == {"200"}, answers.statuses
    return _Taken(answers.p50, answers.p99, answers.worst, answers.rate)


def _address(port: int) -> str:
    return f"http://127.0.0.1:{port}/v1"


def _json(body: object) -> str:
    return orjson.dumps(body).decode()


@asynccontextmanager
async def _upstream() -> AsyncIterator[int]:
    """The port of `benchmarks.upstream`, a process of its own."""
    command = [sys.executable, "-m", "benchmarks.upstream", _LATENCY_SECONDS]
    child = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert child.stdout is not None
    try:
        async with asyncio.timeout(30):
            port = int(await child.stdout.readline())
        yield port
    finally:
        child.terminate()
        await child.wait()
