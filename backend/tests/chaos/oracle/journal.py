"""What the journal and the rows must say: every item's life is a path of the transition table, and has ended."""

from collections.abc import Iterator, Sequence

from app.items.item import TRANSITIONS, Action, ItemStatus
from tests.chaos.evidence import EventRow, Evidence

CREATE = "create"
_WORKERS_ACTIONS = {Action.FINISH, Action.FAIL}
_BIRTHS = {ItemStatus.ENRICHING, ItemStatus.ARCHIVED}


def find_stuck(evidence: Evidence) -> Iterator[str]:
    """No item is in work at the end, and no lease stands."""
    for item in evidence.items.values():
        if item.status == ItemStatus.ENRICHING:
            yield f"item {item.id} is still ENRICHING (attempt {item.attempt}, {item.deaths} deaths)"
        elif item.lease_owner is not None:
            yield f"item {item.id} is {item.status} and still leased"


def find_illegal_changes(evidence: Evidence) -> Iterator[str]:
    """Each change starts where the last one ended, is in the table, and was made by who may make it.

    So between two entries into ENRICHING there is at most one ending by a worker: no double finish, no late write.
    """
    for item_id, events in evidence.journals.items():
        yield from (f"item {item_id}: {complaint}" for complaint in complaints_about(events))


def find_disagreements(evidence: Evidence) -> Iterator[str]:
    for item in evidence.items.values():
        events = evidence.journals.get(item.id)
        if not events:
            yield f"item {item.id} has no journal"
        elif events[-1].status != item.status:
            yield f"item {item.id} is {item.status}, but its journal ends with {events[-1].status}"
    for item_id in evidence.journals.keys() - evidence.items.keys():
        yield f"item {item_id} has a journal and does not exist"


def complaints_about(events: Sequence[EventRow]) -> Iterator[str]:
    status: str | None = None
    for event in events:
        if event.from_status != status:
            yield f"{event.action} (seq {event.seq}) was made from {event.from_status}, but it was {status}"
        elif not _is_legal(event):
            yield f"{event.action} (seq {event.seq}) from {status} to {event.status} is not in the table"
        if (event.actor == "worker") != (event.action in _WORKERS_ACTIONS):
            yield f"{event.action} (seq {event.seq}) was made by {event.actor}"
        status = event.status


def _is_legal(event: EventRow) -> bool:
    if event.from_status is None:
        return event.action == CREATE and event.status in _BIRTHS
    following: dict[str, str] = {str(k): str(v) for k, v in TRANSITIONS[ItemStatus(event.from_status)].items()}
    return following.get(event.action) == event.status
