"""Signals: the first SIGTERM or SIGINT begins the drain at once, a second one cuts it short.

uvicorn tells the lifespan only after every open answer has ended, and a stream of events never ends by itself; so
our handler stands before uvicorn's, ends the streams, and passes the signal on.
"""

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

STOP_SIGNALS: tuple[int, ...] = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def on_stop_signal(react: Callable[[int], None]) -> Iterator[None]:
    """Call `react` on the running loop with 1, 2, … for each stop signal, then whoever handled the signal before.

    Outside the main thread signals cannot be handled: then nothing is changed.
    """
    loop = asyncio.get_running_loop()
    previous: dict[int, Callable[[int, FrameType | None], object] | int | None] = {}
    count = 0

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal count
        count += 1
        loop.call_soon_threadsafe(react, count)
        earlier = previous.get(number)
        if callable(earlier):
            earlier(number, frame)

    try:
        for number in STOP_SIGNALS:
            previous[number] = signal.signal(number, handle)
    except ValueError:
        previous.clear()
    try:
        yield
    finally:
        for number, earlier in previous.items():
            signal.signal(number, earlier)
