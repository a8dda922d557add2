"""The oracle finds what it is there for: each test spoils a clean history in one way and names who must notice."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.chaos.evidence import Evidence, KeyRow
from tests.chaos.history import (
    GONE,
    KEPT,
    NAME,
    PERSON,
    add_event,
    at,
    attempt,
    call,
    change_attempt,
    change_event,
    change_item,
    clean,
    event,
    operation,
)
from tests.chaos.operations import Heard, Verdict
from tests.chaos.oracle.verdict import RULES, judge

Spoil = Callable[[Evidence], Any]
READY = "READY_TO_CONFIRM"


def _swap_heard(evidence: Evidence) -> None:
    change_event(evidence, 30, tx=119)


def _discard_unasked(evidence: Evidence) -> None:
    evidence.log.operations = [o for o in evidence.log.operations if o.action != "discard"]


def _add_claim(evidence: Evidence, claim_seq: int, seconds: float, outcome: str) -> None:
    evidence.attempts.append(attempt(f"x{claim_seq}", KEPT, claim_seq, seconds, outcome))


def _add_call(evidence: Evidence, attempt_id: str, text: str = "Kept.", seconds: float = 3.2) -> None:
    assert evidence.calls is not None
    evidence.calls.append(call(9, attempt_id, text, seconds, (0, 0)))


def _drop_call(evidence: Evidence, attempt_id: str) -> None:
    evidence.calls = [c for c in evidence.calls or () if c.correlation_id != attempt_id]


def _add_unbooked_bill(evidence: Evidence) -> None:
    assert evidence.calls is not None
    evidence.calls.append(call(9, "unbooked", "Kept.", 3.2, (10, 5)))


SPOILED: list[tuple[str, Spoil]] = [
    ("nothing stuck", lambda e: change_item(e, KEPT, status="ENRICHING")),
    ("nothing stuck", lambda e: change_item(e, KEPT, lease_owner="dead")),
    ("no illegal change", lambda e: add_event(e, event(21, KEPT, "finish", ("ENRICHING", READY)))),
    ("no illegal change", lambda e: add_event(e, event(11, GONE, "finish", ("ENRICHING", READY)))),
    ("no illegal change", lambda e: change_event(e, 10, status=READY)),
    ("no illegal change", lambda e: change_event(e, 20, actor="person")),
    ("status is the journal's", lambda e: change_item(e, KEPT, status=READY)),
    ("no item lost", lambda e: e.items.pop(KEPT)),
    ("no item lost", lambda e: e.log.operations.append(operation("create", GONE, 3, key="k1"))),
    ("one item a key", lambda e: e.keys.append(KeyRow(PERSON, "k3", KEPT))),
    ("one item a key", lambda e: e.keys.pop()),
    ("no surprise", lambda e: e.log.surprises.append("500")),
    ("no surprise", lambda e: e.notes.append("died")),
    ("no discard lost", lambda e: change_item(e, GONE, status=READY)),
    ("no discard lost", lambda e: e.attempts.append(attempt("b2", GONE, 2, 11, "CANCELLED"))),
    ("no acknowledged change lost", lambda e: e.log.operations.append(operation("confirm", KEPT, 31))),
    (
        "no acknowledged change lost",
        lambda e: e.log.operations.append(operation("edit", KEPT, 31, wanted={"summary": "New"})),
    ),
    ("no change unasked", _discard_unasked),
    ("nothing overwritten", lambda e: change_item(e, KEPT, title="The model's")),
    (
        "nothing overwritten",
        lambda e: add_event(e, event(31, KEPT, "edit", ("ARCHIVED", "ARCHIVED"), title={"from": "?", "to": "Mine"})),
    ),
    ("an ending follows its claim", lambda e: change_attempt(e, "a4", outcome="CANCELLED")),
    ("an ending follows its claim", lambda e: _add_claim(e, 7, 15, "CANCELLED")),
    ("calls within bounds", lambda e: change_attempt(e, "a1", outcome="OK")),
    ("calls within bounds", lambda e: change_item(e, KEPT, deaths=0)),
    ("calls within bounds", lambda e: _add_claim(e, 6, 14.5, "OK")),
    (
        "calls within bounds",
        lambda e: e.attempts.extend(attempt(f"x{n}", KEPT, 2, 3 + n / 10, "ERROR") for n in range(3)),
    ),
    ("calls within bounds", lambda e: _add_claim(e, 9, 0.5, "ERROR")),
    ("attempts within bounds", lambda e: change_item(e, KEPT, attempt=7)),
    ("attempts within bounds", lambda e: change_item(e, KEPT, attempt=-1)),
    ("attempts within bounds", lambda e: change_item(e, KEPT, deaths=4)),
    ("no attempt left open", lambda e: change_attempt(e, "b1", outcome=None)),
    ("booked before the call", lambda e: _add_call(e, "unbooked")),
    ("booked before the call", lambda e: _add_call(e, "a1")),
    ("booked before the call", lambda e: change_attempt(e, "a2", started_at=at(6.2))),
    ("booked before the call", lambda e: change_attempt(e, "a2", item_id=GONE)),
    ("no more calls than attempts", lambda e: _add_call(e, "a1", "Gone.")),
    ("ledger is the upstream's", lambda e: change_attempt(e, "a4", input_tokens=11)),
    ("ledger is the upstream's", lambda e: change_attempt(e, "a4", input_tokens=None, output_tokens=None)),
    ("ledger is the upstream's", lambda e: change_attempt(e, "a2", input_tokens=0, output_tokens=0)),
    ("ledger is the upstream's", lambda e: change_attempt(e, "b1", input_tokens=10)),
    ("ledger is the upstream's", lambda e: _drop_call(e, "a4")),
    ("ledger is the upstream's", lambda e: change_attempt(e, "b1", outcome="UNUSED")),
    ("ledger is the upstream's", _add_unbooked_bill),
    ("cost is tokens times price", lambda e: change_attempt(e, "a4", cost_usd=34)),
    ("cost is tokens times price", lambda e: change_attempt(e, "a2", cost_usd=0)),
    ("live events in order", _swap_heard),
    ("live events complete", lambda e: e.log.heard[NAME].pop(1)),
    ("live events complete", lambda e: e.log.heard[NAME].append(Heard((130, 30), KEPT, "ARCHIVED"))),
]


def test_a_clean_history_has_no_violation() -> None:
    assert judge(clean()) == []


@pytest.mark.parametrize(("rule", "spoil"), SPOILED)
def test_a_spoiled_history_is_noticed(rule: str, spoil: Spoil) -> None:
    evidence = clean()
    spoil(evidence)
    assert rule in {violation.rule for violation in judge(evidence)}


def test_every_rule_can_fail() -> None:
    assert {rule for rule, _ in SPOILED} == set(RULES)


def test_a_change_that_may_have_been_made_is_no_violation() -> None:
    evidence = clean()
    last = evidence.log.operations[-1]
    evidence.log.operations[-1] = replace(last, verdict=Verdict.UNKNOWN)
    assert judge(evidence) == []


def test_tokens_that_only_the_upstream_knows_are_no_violation() -> None:
    evidence = clean()
    change_attempt(evidence, "a1", input_tokens=None, output_tokens=None, cost_usd=None)
    assert judge(evidence) == []


def test_a_late_answer_that_ended_the_doubt_is_no_violation() -> None:
    evidence = clean()
    change_attempt(evidence, "a2", outcome="OK", input_tokens=10, output_tokens=5, cost_usd=35)
    assert judge(evidence) == []
