"""A small history in which everything is as it should be, for the oracle's tests to spoil."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.chaos.evidence import AttemptRow, EventRow, Evidence, ItemRow, KeyRow, Limits
from tests.chaos.operations import ClientLog, Heard, Operation, Verdict
from tests.protocol_server.answers import digest_of
from tests.protocol_server.calls import Call
from tests.shipped_prompts import messages_for

_NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
PERSON, NAME = "user-1", "ann"
KEPT, GONE = "item-kept", "item-gone"


def at(seconds: float) -> datetime:
    return _NOON + timedelta(seconds=seconds)


def event(seq: int, item_id: str, action: str, statuses: tuple[str | None, str], **changes: Any) -> EventRow:
    actor = "worker" if action in {"finish", "fail"} else "person"
    return EventRow(seq, 100 + seq, item_id, PERSON, action, actor, *statuses, changes or None, at(seq))


def attempt(name: str, item_id: str, claim_seq: int, seconds: float, outcome: str | None) -> AttemptRow:
    """Answered ones took 10 and 5 tokens, at a price of 2 and 3; a refused one took none."""
    known = {"OK": (10, 5, 35), "INVALID": (10, 5, 35), "ERROR": (0, 0, 0)}
    asked, answered, cost = known.get(outcome or "", (None, None, None))
    begin, end = at(seconds), at(seconds + 0.5)
    return AttemptRow(name, item_id, claim_seq, "one", begin, end, outcome, asked, answered, 2, 3, cost)


def call(seq: int, attempt_id: str, text: str, seconds: float, billed: tuple[int, int]) -> Call:
    digest = digest_of(messages_for(text)[-1]["content"])
    return Call(
        run="run",
        seq=seq,
        arrived_at=at(seconds),
        arrived_monotonic=seconds,
        path="/v1/chat/completions",
        model="one",
        mode="json_schema",
        messages=2,
        text_sha256=digest,
        first_text_sha256=digest,
        correlation_id=attempt_id,
        key_sha256=None,
        fault="ok",
        billed_input_tokens=billed[0],
        billed_output_tokens=billed[1],
    )


def operation(action: str, item_id: str, seconds: float, **facts: Any) -> Operation:
    return Operation(action, NAME, Verdict.ACKNOWLEDGED, at(seconds), at(seconds + 0.4), item_id, **facts)


def clean() -> Evidence:
    """One item was deferred, reclaimed, finished and confirmed with a title; another was discarded in mid-call."""
    events = [
        event(1, KEPT, "create", (None, "ENRICHING")),
        event(2, GONE, "create", (None, "ENRICHING")),
        event(10, GONE, "discard", ("ENRICHING", "DISCARDED")),
        event(20, KEPT, "finish", ("ENRICHING", "READY_TO_CONFIRM")),
        event(30, KEPT, "confirm", ("READY_TO_CONFIRM", "ARCHIVED"), title={"from": "Model's", "to": "Mine"}),
    ]
    attempts = [
        attempt("a1", KEPT, 2, 3, "ERROR"),
        attempt("a2", KEPT, 4, 6, "IN_DOUBT"),
        attempt("a3", KEPT, 6, 12, "INVALID"),
        attempt("a4", KEPT, 6, 14, "OK"),
        attempt("b1", GONE, 2, 8, "CANCELLED"),
    ]
    calls = [
        call(1, "a1", "Kept.", 3.1, (0, 0)),
        call(2, "a2", "Kept.", 6.1, (10, 5)),
        call(3, "a3", "Kept.", 12.1, (10, 5)),
        call(4, "a4", "Kept.", 14.1, (10, 5)),
        call(5, "b1", "Gone.", 8.1, (10, 5)),
    ]
    log = ClientLog(
        operations=[
            operation("create", KEPT, 1, key="k1"),
            operation("create", GONE, 2, key="k2"),
            operation("discard", GONE, 10),
            operation("confirm", KEPT, 30, wanted={"title": "Mine"}),
        ],
        heard={NAME: [Heard((e.tx, e.seq), e.item_id, e.status) for e in events]},
    )
    return Evidence(
        items={
            KEPT: ItemRow(KEPT, PERSON, "Kept.", "ARCHIVED", "Mine", "A summary.", 8, None, 3, 1),
            GONE: ItemRow(GONE, PERSON, "Gone.", "DISCARDED", None, None, 3, None, 1, 0),
        },
        events=events,
        attempts=attempts,
        keys=[KeyRow(PERSON, "k1", KEPT), KeyRow(PERSON, "k2", GONE)],
        users={PERSON: NAME},
        log=log,
        limits=Limits(attempts=5, calls_a_claim=3),
        calls=calls,
    )


def change_item(evidence: Evidence, item_id: str, **columns: Any) -> None:
    evidence.items[item_id] = replace(evidence.items[item_id], **columns)


def change_attempt(evidence: Evidence, attempt_id: str, **columns: Any) -> None:
    evidence.attempts = [replace(a, **columns) if a.id == attempt_id else a for a in evidence.attempts]


def change_event(evidence: Evidence, seq: int, **columns: Any) -> None:
    """In the journal and in what was heard."""
    evidence.events = [replace(e, **columns) if e.seq == seq else e for e in evidence.events]
    evidence.log.heard = {NAME: [Heard((e.tx, e.seq), e.item_id, e.status) for e in evidence.events]}


def add_event(evidence: Evidence, added: EventRow) -> None:
    evidence.events = sorted([*evidence.events, added], key=lambda e: e.seq)
    change_event(evidence, added.seq)
