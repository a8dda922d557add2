"""What a worker that died leaves on the books of a row that nobody will reclaim."""

from typing import Any

from sqlalchemy.orm import Session

from app.items.item import ItemStatus
from app.llm.attempts import AttemptOutcome, Usage
from app.llm.ledger.lane_books import Books, JobRecorder
from app.llm.ledger.statements import Account, settle
from app.worker import lease
from tests.worker.vault import Vault


async def _begin_a_call(vault: Vault) -> Any:
    """As a worker does that is killed during its call: claimed, booked, and nothing more."""
    table = vault.lane().work_table

    def claim(session: Session) -> Any:
        return lease.claim(session, table, owner="dead", lease_seconds=60, limit=1)

    work = (await vault.database.write(claim))[0]
    account = Account("enrichment", "items", ItemStatus.ENRICHING, work.id, work.user_id, work.claim_seq)
    return await JobRecorder(Books(vault.database), account, lambda: True).open(provider="one", model="one")


async def test_a_call_of_a_dead_worker_for_a_discarded_item_is_in_doubt(vault: Vault) -> None:
    item_id = await vault.post()
    await _begin_a_call(vault)
    await vault.act(item_id, "discard")
    await vault.worker().run_once()
    assert await vault.outcomes(item_id) == ["IN_DOUBT"]


async def test_a_call_under_way_is_not_in_doubt(vault: Vault) -> None:
    item_id = await vault.post()
    await _begin_a_call(vault)
    await vault.worker().run_once()
    assert await vault.outcomes(item_id) == [None]


async def test_a_worker_that_lives_after_all_ends_the_doubt(vault: Vault) -> None:
    item_id = await vault.post()
    attempt = await _begin_a_call(vault)
    await vault.act(item_id, "discard")
    await vault.worker().run_once()
    attempt.settle(AttemptOutcome.OK, usage=Usage(10, 5))
    await vault.database.write(lambda session: settle(session, [attempt]))
    assert await vault.outcomes(item_id) == ["OK"]
