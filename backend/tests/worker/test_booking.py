"""The first attempt is booked together with the claim: one commit before the call, and no call without one."""

from app.errors import LLMRateLimited
from app.items.presentation import present
from app.llm.attempts import FirstCall
from tests.worker.vault import Gate, Running, Vault, until


async def test_the_claim_books_the_first_attempt(vault: Vault, running: Running) -> None:
    gate = Gate()
    vault.provider.behaviours = [gate]
    item_id = await vault.post()
    running()
    await gate.reached.wait()
    (attempt,) = await vault.attempts(item_id)
    assert (attempt.provider, attempt.model, attempt.claim_seq, attempt.outcome) == ("scripted", "one", 2, None)
    gate.open.set()
    await until(lambda: vault.provider.calls)


async def test_another_model_than_the_booked_one_leaves_that_unused(vault: Vault) -> None:
    vault.provider.first = FirstCall("scripted", "two")
    item_id = await vault.post()
    await vault.worker().run_once()
    books = {attempt.model: (attempt.outcome, attempt.cost_usd) for attempt in await vault.attempts(item_id)}
    assert books == {"two": ("UNUSED", 0), "one": ("OK", None)}


async def test_an_attempt_that_was_never_made_costs_nothing_and_counts_for_none(vault: Vault, running: Running) -> None:
    item_id = await vault.post()
    worker = vault.worker()
    await worker._cycle()
    worker.stop(at_once=True)
    await worker.run()
    assert await vault.outcomes(item_id) == ["UNUSED"]
    assert vault.provider.calls == []
    item = await vault.item(item_id)
    (shown,) = await vault.database.read(lambda session: present(session, [item]))
    assert shown.enrichment is None


async def test_a_retry_of_an_item_books_a_new_attempt(vault: Vault) -> None:
    vault.provider.behaviours = [LLMRateLimited()]
    item_id = await vault.post()
    await vault.worker().run_once()
    await vault.make_due(item_id)
    await vault.worker().run_once()
    assert await vault.outcomes(item_id) == ["ERROR", "OK"]
