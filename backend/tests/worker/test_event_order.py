"""Listeners hear an item's changes in the order in which they were made, whoever made them."""

import asyncio

import pytest
from sqlalchemy import select, text

from app.items.item_model import ItemEvent
from app.items.routes import change_items
from app.items.schemas import BulkRequest
from tests.worker.vault import Vault


async def _actions_as_heard(vault: Vault, item_id: str) -> list[str]:
    query = select(ItemEvent.action).where(ItemEvent.item_id == item_id).order_by(ItemEvent.tx, ItemEvent.seq)
    return await vault.database.read(lambda s: list(s.scalars(query)))


async def test_an_item_that_is_finished_during_a_bulk_change_is_heard_finished_first(vault: Vault) -> None:
    if vault.database.is_sqlite:
        pytest.skip("writers are serial there")
    first, held, last = [await vault.post(f"Note {number}.") for number in range(3)]
    user_id = await vault.identity.user_id_of("ann")
    is_held, release = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        async with vault.database._engine.begin() as connection:  # type: ignore[union-attr]
            await connection.execute(text("SELECT id FROM items WHERE id = :id FOR UPDATE"), {"id": held})
            is_held.set()
            await release.wait()

    holding = asyncio.create_task(hold())
    await is_held.wait()
    changing = asyncio.create_task(
        change_items(BulkRequest(action="discard", ids=[first, held, last]), user_id, vault.database)
    )
    await vault.until_blocked()
    await vault.worker().run_once()
    release.set()
    await asyncio.gather(holding, changing)
    assert await _actions_as_heard(vault, last) == ["create", "finish", "discard"]
