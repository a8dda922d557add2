"""The live events: what a listener heard is the person's journal, whole and in an order that makes sense."""

from collections.abc import Iterator

from tests.chaos.evidence import EventRow, Evidence
from tests.chaos.oracle.journal import complaints_about


def find_disorder(evidence: Evidence) -> Iterator[str]:
    """Listeners page by `(tx, seq)`; in that order, too, each item's life must be a path of the table."""
    for item_id, events in evidence.journals.items():
        ordered = sorted(events, key=_place)
        if ordered != events:
            for complaint in complaints_about(ordered):
                yield f"item {item_id}, as listeners hear it: {complaint}"


def find_gaps(evidence: Evidence) -> Iterator[str]:
    """A listener that comes back with Last-Event-ID misses nothing and hears nothing twice."""
    ids = {name: user_id for user_id, name in evidence.users.items()}
    for user, heard in evidence.log.heard.items():
        told = [(event.place, event.item_id, event.status) for event in heard]
        own = sorted((event for event in evidence.events if event.user_id == ids.get(user)), key=_place)
        written = [(_place(event), event.item_id, event.status) for event in own]
        if told == written:
            continue
        missed, invented = len(set(written) - set(told)), len(set(told) - set(written))
        twice = len(told) - len(set(told))
        yield f"{user} heard {len(told)} of {len(written)} events: {missed} missed, {twice} twice, {invented} invented"


def _place(event: EventRow) -> tuple[int, int]:
    return event.tx, event.seq
