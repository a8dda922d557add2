"""The API over real HTTP: what creating and polling cost beside the least that could do it."""

import asyncio
from contextlib import AsyncExitStack

import orjson

from benchmarks.figure import Figure
from benchmarks.load import Answers, Load, generate
from benchmarks.places import WORDS
from benchmarks.processes import ready, start_bare, start_vault
from benchmarks.run import Run

_CREATE = "/api/v1/items"
_PENDING = "/api/v1/items/pending"
_BODY = orjson.dumps({"rawText": WORDS}).decode()
_PAIRS = 3


async def api(run: Run) -> list[Figure]:
    """POST with 16 clients, GET pending with 20 items and 304, each in turn with the bare application."""
    place = await run.places.fresh("sqlite")
    async with AsyncExitStack() as stack:
        vault = await stack.enter_async_context(ready(start_vault(place, worker_enabled="false")))
        bare = await stack.enter_async_context(ready(start_bare(place)))
        # Before there are more than 20 to show.
        figures = await _polled(run, vault.port, bare.port)
        figures += await _created(run, vault.port, bare.port)
    if "postgresql" in run.engines:
        figures.append(await _created_elsewhere(run))
    figures.append(await _created_beside_worker(run))
    return figures


async def _created(run: Run, vault: int, bare: int) -> list[Figure]:
    ours, bounds = [], []
    for _ in range(_PAIRS):
        bounds.append(await _create(run, bare))
        ours.append(await _create(run, vault))
        run.say(f"create: {ours[-1].rate:,.0f}/s, the bare application {bounds[-1].rate:,.0f}/s")
    rate, bound = _middle(ours), _middle(bounds)
    return [
        Figure("create, 16 clients, sqlite", rate.rate, "/s", bound.rate, "bare insert", 0.5, of_bound=True),
        Figure("create, p99", rate.p99, "ms", bound.p99, "bare insert", is_better="less"),
    ]


async def _created_elsewhere(run: Run) -> Figure:
    place = await run.places.fresh("postgresql")
    async with ready(start_vault(place, worker_enabled="false")) as vault:
        answers = await _create(run, vault.port)
    return Figure("create, 16 clients, postgresql", answers.rate, "/s")


async def _created_beside_worker(run: Run) -> Figure:
    """While the worker of the same process enriches what is created."""
    place = await run.places.fresh("sqlite")
    async with ready(start_vault(place, llm_concurrency="100")) as vault:
        answers = await _create(run, vault.port)
    return Figure("create, the worker at it meanwhile", answers.rate, "/s")


async def _polled(run: Run, vault: int, bare: int) -> list[Figure]:
    seconds = run.size(4, 2)
    for port in (vault, bare):
        await asyncio.gather(*(generate(_one_item(port)) for _ in range(20)))
    whole, unchanged, bounds = [], [], []
    for _ in range(_PAIRS):
        bounds.append(await generate(Load(bare, _PENDING, clients=4, seconds=seconds)))
        whole.append(await generate(Load(vault, _PENDING, clients=4, seconds=seconds)))
        seen = {"If-None-Match": _etag(whole[-1])}
        unchanged.append(await generate(Load(vault, _PENDING, clients=4, seconds=seconds, headers=seen)))
        _all(unchanged[-1], "304")
        run.say(f"pending: {whole[-1].rate:,.0f}/s, 304 {unchanged[-1].rate:,.0f}/s, bare {bounds[-1].rate:,.0f}/s")
    bound = _middle(bounds).rate
    return [
        Figure("pending, 20 items", _middle(whole).rate, "/s", bound, "bare query"),
        Figure("pending, unchanged (304)", _middle(unchanged).rate, "/s", bound, "bare query"),
    ]


async def _create(run: Run, port: int) -> Answers:
    return _all(await generate(Load(port, _CREATE, "POST", _BODY, seconds=run.size(5, 2))), "201")


def _one_item(port: int) -> Load:
    return Load(port, _CREATE, "POST", _BODY, clients=1, seconds=0)


def _etag(answers: Answers) -> str:
    lines = answers.last_head.split("\r\n")
    return next(line.split(": ", 1)[1] for line in lines if line.lower().startswith("etag:"))


def _all(answers: Answers, status: str) -> Answers:
    """A rate of refusals would look splendid."""
    assert set(answers.statuses) == {status}, answers.statuses
    return answers


def _middle(answers: list[Answers]) -> Answers:
    return sorted(answers, key=lambda one: one.rate)[len(answers) // 2]
