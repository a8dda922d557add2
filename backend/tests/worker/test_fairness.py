"""One person's import does not make another wait."""

from app.worker import lease
from app.worker.lane import Work
from tests.worker.vault import Vault


async def test_a_newcomers_first_item_starts_next_whatever_another_has_queued(vault: Vault) -> None:
    for n in range(30):
        await vault.post(f"import {n}", user="importer")
    await _claim(vault, 3)
    await vault.post("a single note", user="newcomer")
    started = [work.payload["raw_text"] for work in await _claim(vault, 2)]
    assert "a single note" in started


async def test_two_people_with_much_to_do_take_turns(vault: Vault) -> None:
    for user in ("ann", "bob"):
        for n in range(6):
            await vault.post(f"{user} {n}", user=user)
    order = [work.payload["raw_text"].split()[0] for work in await _claim(vault, 12)]
    assert all({order[n], order[n + 1]} == {"ann", "bob"} for n in range(0, 12, 2))


async def test_one_persons_items_are_worked_in_the_order_of_capture(vault: Vault) -> None:
    for n in range(5):
        await vault.post(str(n))
    assert [work.payload["raw_text"] for work in await _claim(vault, 5)] == list("01234")


async def test_who_comes_while_all_is_in_work_gets_no_head_start_over_the_rest(vault: Vault) -> None:
    """With nothing waiting, the rows in work tell how far the queue has come."""
    for n in range(4):
        await vault.post(f"ann {n}", user="ann")
    await _claim(vault, 4)
    await vault.post("ann later", user="ann")
    for n in range(6):
        await vault.post(f"bob {n}", user="bob")
    order = [work.payload["raw_text"] for work in await _claim(vault, 7)]
    assert order.index("ann later") <= 2


async def _claim(vault: Vault, limit: int) -> list[Work]:
    table = vault.lane().work_table
    return await vault.database.write(
        lambda s: lease.claim(s, table, owner=vault.database.process_id, lease_seconds=30, limit=limit)
    )
