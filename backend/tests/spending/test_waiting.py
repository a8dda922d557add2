"""An item that its budget does not allow waits in the queue, and is taken up when there is money again."""

from decimal import Decimal

import pytest

from app.accounts.privacy import Privacy
from app.enrichment.schemas import EnrichmentResult
from app.items.presentation import present
from app.llm.attempts import UNRECORDED, AttemptOutcome, AttemptRecorder, FirstCall, Purpose
from app.spending.budget import Budget, Period, Scope
from app.spending.service import replace_budgets
from tests.spending.till import CENT, ITEMS, usage_of
from tests.worker.vault import CONTENT, ScriptedProvider, Vault


class Paid(ScriptedProvider):
    """Each call costs a cent at most, and half of it in the end."""

    async def enrich_item(
        self,
        text: str,
        *,
        privacy: Privacy = Privacy.ANY,
        attempts: AttemptRecorder = UNRECORDED,
        user_id: str | None = None,
    ) -> EnrichmentResult:
        attempt = await attempts.open(provider="scripted", model="one", purpose=Purpose(most_usd=CENT))
        self.calls.append(text)
        attempt.settle(AttemptOutcome.OK, usage=usage_of(CENT / 2))
        attempts.close(attempt)
        return EnrichmentResult(CONTENT, provider="scripted", model="one", prompt_version="test/1")


@pytest.fixture
def paid(vault: Vault) -> Vault:
    vault.provider = Paid()
    return vault


async def budget(vault: Vault, usd: str) -> None:
    budgets = [Budget(Scope.SYSTEM, "", Period.DAY, Decimal(usd))]
    await vault.database.write(lambda session: replace_budgets(session, budgets, ITEMS))


async def test_it_waits_without_using_up_an_attempt_and_is_not_failed(paid: Vault) -> None:
    await budget(paid, "0.005")
    item_id = await paid.post()
    await paid.worker().run_once()
    item = await paid.item(item_id)
    assert (item.status, item.attempt, item.wait_code) == ("ENRICHING", 0, "LLM_BUDGET_EXCEEDED")
    assert paid.provider.calls == [] and await paid.attempts(item_id) == []
    (shown,) = await paid.database.read(lambda session: present(session, [item]))
    assert shown.waiting is not None and shown.waiting.until == item.not_before


async def test_it_is_taken_up_when_the_budget_is_raised(paid: Vault) -> None:
    await budget(paid, "0.005")
    item_id = await paid.post()
    await paid.worker().run_once()
    await budget(paid, "1")
    await paid.worker().run_once()
    item = await paid.item(item_id)
    assert (item.status, item.attempt) == ("READY_TO_CONFIRM", 1)
    (shown,) = await paid.database.read(lambda session: present(session, [item]))
    assert shown.waiting is None


async def test_under_a_budget_nothing_is_booked_ahead(paid: Vault) -> None:
    paid.provider.first = FirstCall("scripted", "two")
    await budget(paid, "1")
    item_id = await paid.post()
    await paid.worker().run_once()
    assert [(attempt.model, attempt.reserved_usd) for attempt in await paid.attempts(item_id)] == [("one", CENT)]


async def test_what_was_booked_ahead_counts_from_its_settlement(paid: Vault) -> None:
    item_id = await paid.post()
    await paid.worker().run_once()
    (attempt,) = await paid.attempts(item_id)
    assert (attempt.cost_usd, attempt.reserved_usd) == (CENT / 2, CENT)
