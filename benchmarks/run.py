"""One measurement in a process of its own: what it finds in memory, threads and logs is its own doing."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import uvloop

from app.config import Settings
from app.main import prepare_process
from benchmarks.figure import Figure
from benchmarks.places import Places, places

ENGINES = ("sqlite", "postgresql")


@dataclass(frozen=True, slots=True)
class Run:
    """What a measurement is given. `short` asks for less of everything: the ratios hold, the tails are rougher."""

    places: Places
    short: bool

    @property
    def engines(self) -> tuple[str, ...]:
        return self.places.engines

    def size(self, full: int, short: int) -> int:
        return short if self.short else full

    def say(self, line: str) -> None:
        print(f"  {time.strftime('%H:%M:%S')} {line}", flush=True)


Measurement = Callable[[Run], Coroutine[Any, Any, list[Figure]]]


def run_alone(measurement: Measurement, *, short: bool, engines: tuple[str, ...]) -> list[Figure]:
    """The figures, taken under the loop and the log level that the server runs with; standard error is the log."""
    prepare_process(Settings())
    with places(engines) as found, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(measurement(Run(found, short)))
