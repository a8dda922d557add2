"""All rules together."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.chaos.evidence import Evidence
from tests.chaos.oracle import journal, ledger, promises, spending, stream


@dataclass(frozen=True, slots=True)
class Violation:
    rule: str
    what: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.what}"


Rule = Callable[[Evidence], Iterator[str]]

RULES: dict[str, Rule] = {
    "nothing stuck": journal.find_stuck,
    "no illegal change": journal.find_illegal_changes,
    "status is the journal's": journal.find_disagreements,
    "no item lost": promises.find_lost_items,
    "one item a key": promises.find_wrong_keys,
    "no surprise": promises.find_surprises,
    "no discard lost": promises.find_lost_discards,
    "no acknowledged change lost": promises.find_lost_changes,
    "no change unasked": promises.find_unasked_changes,
    "nothing overwritten": promises.find_overwritten_fields,
    "an ending follows its claim": spending.find_wrong_endings,
    "calls within bounds": spending.find_needless_calls,
    "attempts within bounds": spending.find_worn_out_items,
    "no attempt left open": ledger.find_open_attempts,
    "booked before the call": ledger.find_unbooked_calls,
    "no more calls than attempts": ledger.find_unbooked_texts,
    "ledger is the upstream's": ledger.find_wrong_bills,
    "cost is tokens times price": ledger.find_wrong_costs,
    "live events in order": stream.find_disorder,
    "live events complete": stream.find_gaps,
}


def judge(evidence: Evidence) -> list[Violation]:
    return [Violation(name, what) for name, rule in RULES.items() for what in rule(evidence)]
