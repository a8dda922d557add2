"""The worker dies at every point where it could: before, inside and after each transaction, and during each call.

The next worker brings the item to its end; every call is on the books, none is paid twice without a death between.
"""

import asyncio
import multiprocessing
from dataclasses import dataclass
from pathlib import Path

import pytest

from app.items.item import ItemStatus
from tests.worker.crashing_worker import DIED, BookedProvider, work
from tests.worker.vault import Vault

pytestmark = pytest.mark.chaos

# Its processes are forked from one that has imported everything and runs nothing: ours runs threads.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.worker.crashing_worker"])
# The claim; the deferral with the next claim; the opening of the re-ask; the finish.
WRITES = 4
POINTS = [(place, nth) for place in ("before", "inside", "after") for nth in range(1, WRITES + 1)]
POINTS += [("call", nth) for nth in range(1, 4)]


@dataclass
class Aftermath:
    """What was left of an item, after a worker died at it and another one had its turn."""

    item_id: str
    calls: list[str]


def _die(url: str, book: Path, point: tuple[str, int]) -> bool:
    """Whether it died, and was not done before."""
    process = PROCESSES.Process(target=work, args=(url, book, *point))
    process.start()
    process.join(60)
    assert process.exitcode in {0, DIED}
    return process.exitcode == DIED


def _read(book: Path) -> list[str]:
    return book.read_text().split()


async def _die_and_recover(vault: Vault, url: str, book: Path, point: tuple[str, int]) -> Aftermath:
    item_id = await vault.post()
    assert await asyncio.to_thread(_die, url, book, point)
    if (await vault.item(item_id)).lease_owner is not None:
        await vault.expire_lease(item_id)
    vault.provider = BookedProvider(book)
    await vault.worker().run_once()
    return Aftermath(item_id, _read(book))


@pytest.mark.parametrize("point", POINTS, ids=lambda point: f"{point[0]}-{point[1]}")
async def test_a_worker_that_dies_leaves_nothing_stuck_and_nothing_unbooked(
    vault: Vault, database_url: str, tmp_path: Path, point: tuple[str, int]
) -> None:
    aftermath = await _die_and_recover(vault, database_url, tmp_path / "calls", point)
    attempts = {attempt.id: attempt for attempt in await vault.attempts(aftermath.item_id)}
    assert await vault.status(aftermath.item_id) == ItemStatus.READY_TO_CONFIRM
    assert await vault.actions(aftermath.item_id) == ["create", "finish"]
    assert set(aftermath.calls) <= set(attempts)
    assert None not in {attempt.outcome for attempt in attempts.values()}
    # One that fails, one that is asked again, one that is good, and one more for the lease that died with its call.
    assert len(aftermath.calls) <= 3 + (await vault.item(aftermath.item_id)).deaths
    assert [a.input_tokens for a in attempts.values() if a.outcome == "OK"] == [10]


async def test_the_points_reach_past_the_end_of_an_items_life(vault: Vault, database_url: str, tmp_path: Path) -> None:
    item_id = await vault.post()
    assert await asyncio.to_thread(_die, database_url, tmp_path / "calls", ("after", WRITES))
    assert await vault.status(item_id) == ItemStatus.READY_TO_CONFIRM
