"""What the clients did, as the clients know it: each operation with what was answered, and when."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum


class Verdict(StrEnum):
    """UNKNOWN: no answer, or one that leaves open whether the change was made."""

    ACKNOWLEDGED = "acknowledged"
    REFUSED = "refused"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Operation:
    """`action` is one of the journal's words. `key` belongs to a create; `wanted` holds the fields of an edit, by
    the names of their columns.
    """

    action: str
    user: str
    verdict: Verdict
    sent_at: datetime
    answered_at: datetime
    item_id: str | None = None
    key: str | None = None
    wanted: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Heard:
    """An event of the live stream."""

    place: tuple[int, int]
    item_id: str
    status: str


@dataclass(slots=True)
class ClientLog:
    """All that the clients of one run wrote down. `surprises` are answers that no server should give."""

    operations: list[Operation] = field(default_factory=list)
    heard: dict[str, list[Heard]] = field(default_factory=dict)
    surprises: list[str] = field(default_factory=list)

    def count(self, verdict: Verdict) -> int:
        return sum(operation.verdict is verdict for operation in self.operations)


def of_item(operations: Iterable[Operation], *, action: str, verdicts: set[Verdict]) -> dict[str, list[Operation]]:
    """These operations by the item that they were on."""
    found: dict[str, list[Operation]] = {}
    for operation in operations:
        if operation.item_id is not None and operation.action == action and operation.verdict in verdicts:
            found.setdefault(operation.item_id, []).append(operation)
    return found


def now() -> datetime:
    return datetime.now(UTC)
