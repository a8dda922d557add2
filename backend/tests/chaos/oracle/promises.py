"""What the clients were told must be so: nothing acknowledged is lost, and nothing happens that nobody asked for."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from app.items.item import ItemStatus
from tests.chaos.evidence import EventRow, Evidence
from tests.chaos.operations import Operation, Verdict, of_item
from tests.chaos.oracle.journal import CREATE

_DONE, _MAYBE = {Verdict.ACKNOWLEDGED}, {Verdict.ACKNOWLEDGED, Verdict.UNKNOWN}
_CHANGES = ("confirm", "discard", "retry", "unconfirm", "edit")
_FIELDS = ("title", "summary", "raw_text")


def find_lost_items(evidence: Evidence) -> Iterator[str]:
    """Every acknowledged item exists, and is the one of its key for good."""
    kept = _kept_keys(evidence)
    for operation in _creates(evidence):
        if operation.verdict is not Verdict.ACKNOWLEDGED:
            continue
        place = (operation.user, operation.key)
        if operation.item_id not in evidence.items:
            yield f"item {operation.item_id} of key {place} was acknowledged and does not exist"
        if kept.get(place) != operation.item_id:
            yield f"key {place} was answered with {operation.item_id} and is kept with {kept.get(place)}"


def find_wrong_keys(evidence: Evidence) -> Iterator[str]:
    """Every item has one key, and every key was sent by a client."""
    owners = Counter(row.item_id for row in evidence.keys)
    for item_id in evidence.items:
        if owners[item_id] != 1:
            yield f"item {item_id} belongs to {owners[item_id]} keys"
    asked = {(operation.user, operation.key) for operation in _creates(evidence)}
    for place in _kept_keys(evidence).keys() - asked:
        yield f"key {place} was never sent"


def find_surprises(evidence: Evidence) -> Iterator[str]:
    """Answers that no server should give, and what the run itself noted."""
    counted = Counter(evidence.log.surprises)
    yield from (f"{what} ({times} times)" for what, times in counted.items())
    yield from evidence.notes


def find_lost_discards(evidence: Evidence) -> Iterator[str]:
    """An acknowledged discard stays, and nothing is begun for the item after the client knew of it."""
    for item_id, operations in of_item(evidence.log.operations, action="discard", verdicts=_DONE).items():
        item = evidence.items.get(item_id)
        if item is not None and item.status != ItemStatus.DISCARDED:
            yield f"item {item_id} was discarded, acknowledged, and is {item.status}"
        known_at = min(operation.answered_at for operation in operations)
        for attempt in evidence.spent.get(item_id, ()):
            if attempt.started_at > known_at:
                yield f"item {item_id} was discarded, and attempt {attempt.id} was opened afterwards"


def find_lost_changes(evidence: Evidence) -> Iterator[str]:
    """Each acknowledged change stands in the journal, made by a person; an edit with its values."""
    for action in _CHANGES:
        for item_id, operations in of_item(evidence.log.operations, action=action, verdicts=_DONE).items():
            events = _by_person(evidence, item_id, action)
            if len(events) < len(operations):
                yield f"item {item_id}: {len(operations)} × {action} acknowledged, {len(events)} in the journal"
    for operation in evidence.log.operations:
        if operation.verdict is Verdict.ACKNOWLEDGED and operation.wanted and operation.item_id is not None:
            written = _written(evidence.journals.get(operation.item_id, ()))
            for field, value in operation.wanted.items():
                if value not in written[field]:
                    yield f"item {operation.item_id}: its {field} was edited, acknowledged, and never written"


def find_unasked_changes(evidence: Evidence) -> Iterator[str]:
    for action in _CHANGES:
        asked = of_item(evidence.log.operations, action=action, verdicts=_MAYBE)
        for item_id in evidence.items:
            made = len(_by_person(evidence, item_id, action))
            if made > len(asked.get(item_id, ())):
                yield f"item {item_id}: {made} × {action} in the journal, {len(asked.get(item_id, ()))} asked for"


def find_overwritten_fields(evidence: Evidence) -> Iterator[str]:
    """What a person wrote stays until a person writes something else: the journal's values are a chain."""
    for item in evidence.items.values():
        for field in _FIELDS:
            last = None
            for event in evidence.journals.get(item.id, ()):
                change = (event.changes or {}).get(field)
                if change is None:
                    continue
                if last is not None and change["from"] != last:
                    yield f"item {item.id}: a person's {field} was overwritten before seq {event.seq}"
                last = change["to"]
            if last is not None and getattr(item, field) != last:
                yield f"item {item.id}: a person's {field} was overwritten"


def _creates(evidence: Evidence) -> list[Operation]:
    return [operation for operation in evidence.log.operations if operation.action == CREATE]


def _kept_keys(evidence: Evidence) -> dict[tuple[str, str | None], str | None]:
    return {(evidence.users.get(row.user_id, "?"), row.key): row.item_id for row in evidence.keys}


def _by_person(evidence: Evidence, item_id: str, action: str) -> list[EventRow]:
    events = evidence.journals.get(item_id, ())
    return [event for event in events if event.action == action and event.actor == "person"]


def _written(events: Sequence[EventRow]) -> dict[str, set[str]]:
    written: dict[str, set[str]] = defaultdict(set)
    for event in events:
        for field, change in (event.changes or {}).items():
            if field in _FIELDS:
                written[field].add(change["to"])
    return written
