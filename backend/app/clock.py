"""Time, in one place: aware UTC for what is stored, a local clock for deadlines.

Nothing else in the application reads a clock or sleeps, so a test can stand in for time here.
"""

import asyncio
import time
from datetime import UTC, datetime

_LOCAL_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def utc_now() -> datetime:
    """Aware UTC, for what is stored or shown."""
    return datetime.now(UTC)


def local_seconds() -> float:
    """Seconds on a clock that never goes back and goes on while the process is stopped or the machine sleeps.

    A lease must be judged by it after SIGSTOP or a suspend; CLOCK_MONOTONIC stands still in a suspend.
    """
    return time.clock_gettime(_LOCAL_CLOCK)


async def sleep(seconds: float) -> None:
    await asyncio.sleep(seconds)
