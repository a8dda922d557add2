"""An alert is told once, to every channel, whatever happens on the way; and it never costs whoever has no channel."""

import asyncio
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

from pydantic import SecretStr
from sqlalchemy import update

from app.clock import utc_now
from app.spending.alerts import AlertTeller
from app.spending.budget_model import SpendingAlert
from tests.spending.till import CENT, SYSTEM_DAY, Till

URLS = [SecretStr("one://secret"), SecretStr("two://secret")]


class Channels:
    """Remembers what was sent; those in `broken` fail."""

    def __init__(self, *broken: str) -> None:
        self.broken = set(broken)
        self.sent: list[tuple[str, str, str]] = []
        self.came = asyncio.Event()

    async def send(self, url: str, title: str, body: str) -> bool:
        if url in self.broken:
            raise ConnectionError(f"no way to {url}")
        self.sent.append((url, title, body))
        self.came.set()
        return True


async def cross(till: Till) -> None:
    await till.budget(replace(SYSTEM_DAY, limit_usd=CENT, alert_percents=(80,)))
    attempt = await till.open()
    assert attempt is not None
    await till.settle(attempt, Decimal("0.009"))


async def make_due(till: Till) -> None:
    late = utc_now() - timedelta(seconds=1)
    await till.database.write(lambda session: session.execute(update(SpendingAlert).values(not_before=late)))


async def test_each_channel_is_told_once(till: Till) -> None:
    channels = Channels()
    await cross(till)
    tellers = [AlertTeller(till.database, URLS, channels.send) for _ in range(2)]
    await asyncio.gather(*(teller.tell_due() for teller in tellers for _ in range(3)))
    assert sorted(url for url, _, _ in channels.sent) == ["one://secret", "two://secret"]
    _, title, body = channels.sent[0]
    assert title == "LiteVault: 80 % of the budget of system for the day"
    assert body.startswith("0.009 of 0.01 USD are spent or reserved in the day that began")


async def test_a_channel_that_fails_is_tried_again_and_the_other_is_not_told_twice(till: Till) -> None:
    channels = Channels("one://secret")
    await cross(till)
    teller = AlertTeller(till.database, URLS, channels.send)
    assert await teller.tell_due() == 0
    assert await teller.tell_due() == 0  # not due before its backoff
    await make_due(till)
    channels.broken.clear()
    assert await teller.tell_due() == 1
    assert [url for url, _, _ in channels.sent] == ["two://secret", "one://secret"]


async def test_a_crossing_is_told_at_once_by_a_process_that_runs(till: Till) -> None:
    channels = Channels()
    async with AlertTeller(till.database, URLS[:1], channels.send).telling():
        await cross(till)
        async with asyncio.timeout(10):
            await channels.came.wait()


async def test_without_a_channel_it_is_told_by_the_log_and_is_over(till: Till) -> None:
    await cross(till)
    teller = AlertTeller(till.database, [])
    assert await teller.tell_due() == 1
    await make_due(till)
    assert await teller.tell_due() == 0


def test_the_library_is_not_loaded_before_something_is_sent() -> None:
    check = "import app.main, sys; assert 'apprise' not in sys.modules"
    subprocess.run([sys.executable, "-c", check], check=True, cwd=Path(__file__).resolve().parents[2])
