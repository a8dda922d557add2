"""`GET /metrics`: what this process knows of its calls to models, in the text form that Prometheus reads.

Everything is read when it is asked for; nothing is paid before. Each process tells of itself: with several, all are
scraped. No label holds a person, an item or a text.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request, Response

from app.accounts.roles import Role, requires
from app.llm.gateway import Gateway
from app.llm.meters import LATENCY_BOUNDS, Kind, Meters
from app.llm.traffic.breaker import CircuitState
from app.web import declared_errors

if TYPE_CHECKING:
    from prometheus_client.core import Metric

_KIND = ["provider", "model", "task"]

router = APIRouter(tags=["health"], dependencies=[requires(Role.OPERATOR)], responses=declared_errors(403))


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(request: Request) -> Response:
    """Calls, tokens, cost, latency, cache, gates and circuits of this process since it started, for Prometheus."""
    from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest  # noqa: PLC0415 - slow

    registry = CollectorRegistry()
    state = request.app.state
    registry.register(_Collector(state.gateway, sorted(state.providers.registry.snapshot())))
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


class _Collector:
    """As the library wants it: asked once for all families."""

    def __init__(self, gateway: Gateway, providers: Sequence[str]) -> None:
        self._gateway, self._providers = gateway, providers

    def collect(self) -> Iterator["Metric"]:
        yield from _of_calls(self._gateway.meters)
        yield from _of_the_cache(self._gateway)
        yield from _of_the_doors(self._gateway, self._providers)


def _of_calls(meters: Meters) -> Iterator["Metric"]:
    from prometheus_client.core import HistogramMetricFamily  # noqa: PLC0415

    calls = [((*kind, outcome, code), count) for (kind, outcome, code), count in meters.calls.items()]
    yield _counter("calls", "Upstream calls by how they ended; CACHED made none.", [*_KIND, "outcome", "code"], calls)
    tokens = [((*kind, "input"), count) for kind, count in meters.input_tokens.items()]
    tokens += [((*kind, "output"), count) for kind, count in meters.output_tokens.items()]
    yield _counter("tokens", "Tokens as the providers counted them.", [*_KIND, "direction"], tokens)
    yield _counter("cost_usd", "US dollars spent, of the calls with a known price.", _KIND, meters.cost_usd.items())
    yield _counter("unpriced_calls", "Calls whose cost nobody knows.", _KIND, meters.unpriced.items())
    yield _counter("saved_usd", "US dollars that answers from the cache once cost.", _KIND, meters.saved_usd.items())
    latency = HistogramMetricFamily("litevault_llm_call_seconds", "From leaving to the whole answer.", labels=_KIND)
    for kind, seen in meters.latencies.items():
        names = (*(str(bound) for bound in LATENCY_BOUNDS[:-1]), "+Inf")
        latency.add_metric(list(kind), list(zip(names, accumulate(seen.counts), strict=True)), seen.seconds)
    yield latency


def _of_the_cache(gateway: Gateway) -> Iterator["Metric"]:
    counts = gateway.cache.counts
    looks = [((result,), counts[result]) for result in ("hits", "misses", "shared")]
    yield _counter("cache_lookups", "shared: waited for an equal call.", ["result"], looks)
    yield _counter("cache_saved_tokens", "Tokens that were not paid again.", [], [((), counts["saved_tokens"])])


def _of_the_doors(gateway: Gateway, providers: Sequence[str]) -> Iterator["Metric"]:
    circuits = gateway.breaker.status()
    states = [((circuit.model, str(state)), circuit.state is state) for circuit in circuits for state in CircuitState]
    yield _gauge("circuit_state", "1 at the state in which a model's circuit is.", ["model", "state"], states)
    traffic = {name: gateway.traffic_of(name) for name in providers}
    gates = [((name,), seen.gate.is_open) for name, seen in traffic.items()]
    yield _gauge("gate_open", "0 while a provider is left alone: its key or its quota.", ["provider"], gates)
    in_flight = [((name,), seen.in_flight or 0) for name, seen in traffic.items()]
    yield _gauge("calls_in_flight", "Where a provider has limits.", ["provider"], in_flight)
    waiting = [((name,), seen.waiting or 0) for name, seen in traffic.items()]
    yield _gauge("calls_waiting", "For the limits of a provider.", ["provider"], waiting)


_Samples = Iterable[tuple[tuple[str, ...] | Kind, Any]]


def _counter(name: str, says: str, labels: list[str], samples: _Samples) -> "Metric":
    from prometheus_client.core import CounterMetricFamily  # noqa: PLC0415

    family = CounterMetricFamily(f"litevault_llm_{name}", says, labels=labels)
    for values, value in samples:
        family.add_metric(list(values), float(value))
    return family


def _gauge(name: str, says: str, labels: list[str], samples: _Samples) -> "Metric":
    from prometheus_client.core import GaugeMetricFamily  # noqa: PLC0415

    family = GaugeMetricFamily(f"litevault_llm_{name}", says, labels=labels)
    for values, value in samples:
        family.add_metric(list(values), float(value))
    return family
