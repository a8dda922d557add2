"""What the worker promises of a row, one promise a test."""

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.errors import (
    LLMApiError,
    LLMAuthRefused,
    LLMContentRefused,
    LLMInvalidAnswer,
    LLMRateLimited,
    LLMTimeout,
    LLMUnreachable,
    Remedy,
    ServiceUnavailable,
)
from app.items.item import ItemStatus
from tests.worker.vault import CONTENT, Gate, Running, Vault, until

FOREVER = 60


async def test_an_enriched_item_waits_for_its_person(vault: Vault) -> None:
    item_id = await vault.post()
    await vault.worker().run_once()
    item = await vault.item(item_id)
    assert (item.status, item.title, item.summary) == (ItemStatus.READY_TO_CONFIRM, "A title", "A summary.")
    assert [entry["name"] for entry in item.suggestions] == ["one", "two", "three"]
    assert item.enrichment == {
        "provider": "scripted",
        "model": "one",
        "promptVersion": "test/1",
        "coverage": 1.0,
        "cached": False,
    }
    assert (item.lease_owner, item.lease_until) == (None, None)


async def test_every_transition_moves_the_fence(vault: Vault) -> None:
    item_id = await vault.post()
    seen = [(await vault.item(item_id)).claim_seq]
    await vault.worker().run_once()
    seen.append((await vault.item(item_id)).claim_seq)
    await vault.act(item_id, "edit", title="Mine")
    seen.append((await vault.item(item_id)).claim_seq)
    await vault.act(item_id, "discard")
    seen.append((await vault.item(item_id)).claim_seq)
    assert seen == [1, 3, 4, 5]  # the worker's two are the claim and the finish


@pytest.mark.parametrize(
    "fault", [LLMContentRefused(), LLMInvalidAnswer(), LLMAuthRefused(remedy=Remedy.FAIL), LLMApiError(http_status=404)]
)
async def test_a_permanent_fault_fails_the_item_after_one_call(vault: Vault, fault: LLMApiError) -> None:
    item_id = await vault.post()
    vault.provider.behaviours = [fault]
    await vault.worker().run_once()
    item = await vault.item(item_id)
    assert item.status == ItemStatus.FAILED
    assert item.enrichment_error == f"{fault.code}: {fault.explain()}"
    assert len(vault.provider.calls) == 1


async def test_a_transient_fault_is_tried_until_the_attempts_are_used_up(vault: Vault) -> None:
    item_id = await vault.post()
    vault.provider.behaviours = [LLMUnreachable(http_status=503)] * 10
    await vault.worker().run_once()
    assert (await vault.status(item_id), len(vault.provider.calls)) == (ItemStatus.FAILED, 3)


async def test_a_timeout_is_tried_once_more_and_no_oftener(vault: Vault) -> None:
    item_id = await vault.post()
    vault.provider.behaviours = [LLMTimeout()] * 10
    await vault.worker().run_once()
    item = await vault.item(item_id)
    assert (item.enrichment_error or "").startswith("LLM_TIMEOUT: ")
    assert len(vault.provider.calls) == 2


async def test_a_transient_fault_that_passes_leaves_no_trace_but_the_books(vault: Vault) -> None:
    item_id = await vault.post()
    vault.provider.behaviours = [LLMUnreachable()]
    await vault.worker().run_once()
    item = await vault.item(item_id)
    assert (item.status, item.enrichment_error) == (ItemStatus.READY_TO_CONFIRM, None)
    assert await vault.outcomes(item_id) == ["ERROR", "OK"]


async def test_a_fault_of_the_whole_provider_costs_the_item_no_attempt(vault: Vault) -> None:
    item_id = await vault.post()
    limited = LLMRateLimited(retry_after_seconds=FOREVER, remedy=Remedy.WAIT)
    vault.provider.behaviours = [limited]
    await vault.worker().run_once()
    item = await vault.item(item_id)
    assert (item.status, item.attempt) == (ItemStatus.ENRICHING, 0)
    assert item.not_before is not None


async def test_a_deferred_item_is_left_alone_until_it_is_due(vault: Vault) -> None:
    item_id = await vault.post()
    vault.provider.behaviours = [LLMRateLimited(retry_after_seconds=FOREVER, remedy=Remedy.WAIT)]
    await vault.worker().run_once()
    await vault.worker().run_once()
    assert len(vault.provider.calls) == 1
    await vault.make_due(item_id)
    await vault.worker().run_once()
    assert await vault.status(item_id) == ItemStatus.READY_TO_CONFIRM


async def test_a_crash_of_the_provider_fails_the_item_and_not_the_worker(vault: Vault) -> None:
    item_id = await vault.post()
    vault.provider.behaviours = [ZeroDivisionError("a secret")]
    await vault.worker().run_once()
    item = await vault.item(item_id)
    assert item.status == ItemStatus.FAILED
    assert "secret" not in (item.enrichment_error or "")


async def test_a_discard_during_the_call_wins_and_stops_the_call(vault: Vault, running: Running) -> None:
    gate = Gate()
    vault.provider.behaviours = [gate]
    worker = running()
    item_id = await vault.post()
    await gate.reached.wait()
    await vault.act(item_id, "discard")
    await until(lambda: not worker.in_flight)
    assert await vault.status(item_id) == ItemStatus.DISCARDED
    assert await vault.outcomes(item_id) == ["CANCELLED"]
    assert await vault.actions(item_id) == ["create", "discard"]


async def test_a_result_that_comes_after_the_lease_was_lost_is_dropped_and_counted(
    vault: Vault, running: Running
) -> None:
    gate = Gate()
    vault.provider.behaviours = [gate]
    slow = running()
    item_id = await vault.post()
    await gate.reached.wait()
    await vault.expire_lease(item_id)
    vault.provider.content = CONTENT.model_copy(update={"title": "The second worker's"})
    await vault.worker().run_once()
    vault.provider.content = CONTENT.model_copy(update={"title": "Too late"})
    gate.open.set()
    await until(lambda: not slow.in_flight)
    assert (await vault.item(item_id)).title == "The second worker's"
    assert slow.counts["late"] == 1
    assert await vault.outcomes(item_id) == ["OK", "OK"]  # the late answer was paid for: it is on the books


async def test_what_a_dead_worker_had_under_way_is_in_doubt_and_tried_once_more(vault: Vault) -> None:
    item_id = await vault.post()
    await _claim_and_die(vault, item_id)
    await vault.worker().run_once()
    assert await vault.status(item_id) == ItemStatus.READY_TO_CONFIRM
    assert await vault.outcomes(item_id) == ["IN_DOUBT", "OK"]
    assert (await vault.item(item_id)).deaths == 1


async def test_an_item_whose_worker_died_three_times_fails_without_another_call(vault: Vault) -> None:
    item_id = await vault.post()
    for _ in range(3):
        await _claim_and_die(vault, item_id)
    calls = len(vault.provider.calls)
    await vault.worker().run_once()
    item = await vault.item(item_id)
    assert (item.status, len(vault.provider.calls)) == (ItemStatus.FAILED, calls)
    assert (item.enrichment_error or "").startswith("LLM_INTERRUPTED: ")
    assert await vault.actions(item_id) == ["create", "fail"]


async def test_a_retry_gives_a_failed_item_all_its_attempts_again(vault: Vault) -> None:
    item_id = await vault.post()
    vault.provider.behaviours = [LLMUnreachable()] * 3
    await vault.worker().run_once()
    await vault.act(item_id, "retry")
    vault.provider.behaviours = [LLMUnreachable()] * 2
    await vault.worker().run_once()
    assert await vault.status(item_id) == ItemStatus.READY_TO_CONFIRM


async def test_what_a_person_wrote_is_kept_when_a_retry_succeeds(vault: Vault) -> None:
    item_id = await vault.post()
    vault.provider.behaviours = [LLMContentRefused()]
    await vault.worker().run_once()
    await vault.act(item_id, "edit", title="My own title")
    await vault.act(item_id, "retry")
    await vault.worker().run_once()
    item = await vault.item(item_id)
    assert (item.title, item.summary) == ("My own title", "A summary.")


async def test_no_more_rows_are_claimed_than_there_are_slots(vault: Vault, running: Running) -> None:
    gates = [Gate() for _ in range(5)]
    vault.provider.behaviours = list(gates)
    vault.llm.concurrency = 2
    for _ in range(5):
        await vault.post()
    worker = running()
    await gates[1].reached.wait()
    assert worker.in_flight == 2
    assert not gates[2].reached.is_set()
    for gate in gates:
        gate.open.set()


async def test_nothing_is_claimed_while_every_provider_is_closed(vault: Vault) -> None:
    item_id = await vault.post()
    vault.provider.allowed = 0
    vault.provider.opens_in = FOREVER
    await vault.worker().run_once()
    item = await vault.item(item_id)
    assert (item.status, item.attempt, vault.provider.calls) == (ItemStatus.ENRICHING, 0, [])


async def test_a_bad_result_fails_its_own_row_and_leaves_its_neighbours_alone(vault: Vault) -> None:
    bad = await vault.post("bad")
    good = await vault.post("good")
    worker = vault.worker()
    vault.provider.contents["bad"] = CONTENT.model_copy(update={"source_type": "NEITHER_NOTE_NOR_ARTICLE"})
    await vault.database.write(_refuse_unknown_sources)
    await worker.run_once()
    assert (await vault.status(bad), await vault.status(good)) == (ItemStatus.FAILED, ItemStatus.READY_TO_CONFIRM)


async def test_a_database_fault_at_the_opening_costs_the_item_nothing(vault: Vault) -> None:
    item_id = await vault.post()
    vault.provider.behaviours = [ServiceUnavailable()]
    worker = vault.worker()
    await worker.run_once()
    assert await vault.status(item_id) == ItemStatus.ENRICHING
    assert (await vault.item(item_id)).attempt == 0


async def test_a_result_of_another_text_than_the_rows_is_never_applied(vault: Vault, running: Running) -> None:
    """The fence moves with every edit; should anything change the text behind its back, the text's hash still tells."""
    gate = Gate()
    vault.provider.behaviours = [gate]
    worker = running()
    item_id = await vault.post()
    await gate.reached.wait()
    await vault.set(item_id, raw_text="Another text.", text_hash="another")
    gate.open.set()
    await until(lambda: not worker.in_flight)
    assert (await vault.item(item_id)).title is None
    assert worker.counts["late"] == 1


async def test_an_item_that_closes_the_provider_each_time_waits_behind_all_others_and_fails_in_the_end(
    vault: Vault,
) -> None:
    """A text too large for the provider's limit a minute is answered with 429 for ever."""
    bad = await vault.post("bad")
    good = await vault.post("good")
    for _ in range(3):
        fault = LLMRateLimited(retry_after_seconds=FOREVER, remedy=Remedy.WAIT)
        fault.closed_gate = True
        vault.provider.faults["bad"] = fault
        await vault.worker().run_once()
        if await vault.status(bad) == ItemStatus.ENRICHING:
            await vault.make_due(bad)
    assert await vault.status(good) == ItemStatus.READY_TO_CONFIRM
    assert ((await vault.item(bad)).enrichment_error or "").startswith("LLM_RATE_LIMITED")
    assert vault.provider.calls.count("bad") == 3


async def test_many_items_are_worked_side_by_side_and_each_ends_once(vault: Vault, running: Running) -> None:
    ids = [await vault.post(f"note {n}") for n in range(60)]
    worker = running()
    await until(lambda: worker.counts["READY_TO_CONFIRM"] == 60)
    assert sorted(vault.provider.calls) == sorted(f"note {n}" for n in range(60))
    assert [await vault.outcomes(item_id) for item_id in ids] == [["OK"]] * 60


async def test_what_escapes_every_handler_still_ends_its_item(vault: Vault) -> None:
    class EscapesError(BaseException):
        pass

    item_id = await vault.post()
    vault.provider.behaviours = [EscapesError()]
    await vault.worker().run_once()
    assert await vault.status(item_id) == ItemStatus.FAILED


def _refuse_unknown_sources(session: Session) -> None:
    """PostgreSQL refuses it by the column's length; SQLite knows no lengths."""
    if session.get_bind().dialect.name == "sqlite":
        refuse = "BEGIN SELECT RAISE(ABORT, 'unknown source'); END"
        condition = "length(NEW.source_type) > 10"
        session.execute(text(f"CREATE TRIGGER refuse BEFORE UPDATE ON items WHEN {condition} {refuse}"))


async def _claim_and_die(vault: Vault, item_id: str) -> None:
    """A worker gets as far as the call and is never heard of again."""
    gate = Gate()
    vault.provider.behaviours = [gate]
    worker = vault.worker()
    await worker._cycle()
    await gate.reached.wait()
    for job in worker._jobs.values():
        job.task.cancel()
    await vault.expire_lease(item_id)
