"""How many calls an item may cost: one, and one more for each time that its work was cut short for a reason.

An *episode* is a stay in ENRICHING: from its creation or a retry to its ending. Within it every claim has a
`claim_seq` of its own, and every call carries the one under which it was made. A claim that was not the last of
its episode must have ended without a result: by a fault (deferred), by a cancellation (released), or by the death
of its worker (reclaimed; counted on the item, at most three in an episode).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from app.items.item import Action, ItemStatus
from tests.chaos.evidence import AttemptRow, EventRow, Evidence
from tests.chaos.oracle.journal import CREATE

UNUSED = "UNUSED"
_CUT_SHORT = {"ERROR", "CANCELLED"}
_ENDINGS = {Action.FINISH, Action.FAIL, Action.DISCARD}


@dataclass(frozen=True, slots=True)
class Episode:
    """`claims` holds the attempts of each claim that made any, in order; `ending` is None while it goes on."""

    claims: list[list[AttemptRow]]
    ending: EventRow | None
    is_last: bool


def episodes(events: Sequence[EventRow], attempts: Sequence[AttemptRow]) -> list[Episode]:
    """Told apart by time: an episode's attempts begin after the retry that began it. UNUSED ones made no call."""
    attempts = [attempt for attempt in attempts if attempt.outcome != UNUSED]
    starts = [e for e in events if e.action in {CREATE, Action.RETRY} and e.status == ItemStatus.ENRICHING]
    endings = [e for e in events if e.from_status == ItemStatus.ENRICHING and e.action in _ENDINGS]
    found = []
    for number, start in enumerate(starts):
        until = starts[number + 1].at if number + 1 < len(starts) else None
        own = [a for a in attempts if start.at <= a.started_at and (until is None or a.started_at < until)]
        claims = [list(group) for _, group in groupby(own, key=lambda attempt: attempt.claim_seq)]
        ending = next((event for event in endings if event.seq > start.seq), None)
        found.append(Episode(claims, ending, is_last=until is None))
    return found


def find_wrong_endings(evidence: Evidence) -> Iterator[str]:
    """A finish belongs to the newest claim, and that claim's last call was answered."""
    for item_id, events in evidence.journals.items():
        for episode in episodes(events, evidence.spent.get(item_id, ())):
            if episode.ending is None or episode.ending.action != Action.FINISH:
                continue
            finished = f"item {item_id} was finished (seq {episode.ending.seq})"
            last = episode.claims[-1][-1] if episode.claims else None
            if last is None:
                yield f"{finished} without a call"
            elif last.outcome != "OK":
                yield f"{finished}, its newest call {last.id} is {last.outcome}"


def find_needless_calls(evidence: Evidence) -> Iterator[str]:
    for item_id, events in evidence.journals.items():
        attempts = [attempt for attempt in evidence.spent.get(item_id, ()) if attempt.outcome != UNUSED]
        lived = episodes(events, attempts)
        for episode in lived:
            item = evidence.items.get(item_id)
            reclaims = item.deaths if item is not None and episode.is_last else evidence.limits.deaths
            for what in (*_excess(episode, evidence.limits.calls_a_claim), *_unexplained(episode, reclaims)):
                yield f"item {item_id}: {what}"
        outside = len(attempts) - sum(len(claim) for episode in lived for claim in episode.claims)
        if outside:
            yield f"item {item_id}: {outside} calls outside of any stay in ENRICHING"


def find_worn_out_items(evidence: Evidence) -> Iterator[str]:
    """Claims use up attempts; only a death or a fault that is not the item's allows one more."""
    limits = evidence.limits
    for item in evidence.items.values():
        if not 0 <= item.attempt <= limits.attempts + item.deaths:
            yield f"item {item.id}: {item.attempt} attempts with {item.deaths} deaths"
        if item.deaths > limits.deaths:
            yield f"item {item.id}: {item.deaths} deaths"


def _unexplained(episode: Episode, reclaims: int) -> Iterator[str]:
    again = [claim[0].claim_seq for claim in episode.claims[:-1] if claim[-1].outcome not in _CUT_SHORT]
    if len(again) > reclaims:
        yield f"called again after the claims {again}, but only {reclaims} were reclaimed"


def _excess(episode: Episode, calls_a_claim: int) -> Iterator[str]:
    for claim in episode.claims:
        if len(claim) > calls_a_claim:
            yield f"{len(claim)} calls under claim {claim[0].claim_seq}, {calls_a_claim} are allowed"
        answered = [attempt for attempt in claim if attempt.outcome == "OK"]
        if len(answered) > 1:
            yield f"{len(answered)} answers were paid for under claim {claim[0].claim_seq}"
        if answered and answered[0] is not claim[-1]:
            yield f"called again after the answer {answered[0].id}"
