"""A lane: one kind of long work on rows. What the worker needs to know of it, and nothing of what it does.

To add one: a table with `WorkColumns`, and a class with these members.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from sqlalchemy import Table
from sqlalchemy.orm import Session

from app.errors import LLMError
from app.json_rows import ColumnType
from app.llm.attempts import AttemptRecorder, FirstCall


@dataclass(frozen=True, slots=True, eq=False)
class WorkTable:
    """A table that can be worked, and the literal statuses by which it is.

    `payload` columns come with a claim; `results` are set by a finish, those in `kept` only where they are null, so
    that what a person wrote stays. `error` is the column for the reason of a failure. `source` columns, among the
    payload, say what a result was made from: it is applied only while they are as they were. Rows whose payload is not
    plain may ask other models than most: their first call is not booked with their claim.
    """

    table: Table
    working: str
    failed: str
    payload: tuple[str, ...]
    results: Mapping[str, ColumnType]
    error: str
    kept: frozenset[str] = frozenset()
    source: tuple[str, ...] = ()
    is_plain: Callable[[Mapping[str, Any]], bool] = lambda _payload: True


@dataclass(frozen=True, slots=True)
class Work:
    """A claimed row: under which fence, on which attempt, with what payload."""

    id: str
    user_id: str
    claim_seq: int
    attempt: int
    payload: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Ended:
    """A row that the worker has just brought to a final status."""

    id: str
    user_id: str
    status: str


class Lane(Protocol):
    """One kind of work."""

    name: str
    work_table: WorkTable
    slots: int
    deadline_seconds: float

    async def start(self) -> None:
        """Get ready; nothing is claimed before."""
        ...

    async def close(self) -> None: ...

    def first_call(self) -> FirstCall | None:
        """What the run of a plain row will ask first, booked along with the claim; None when it depends."""
        ...

    def allowance(self, free: int) -> int:
        """How many of the free slots may be filled now: 0 while switched off or while every provider is closed."""
        ...

    def seconds_until_open(self) -> float:
        """How long an allowance of 0 lasts at least; 0 when only the end of work in flight can change it."""
        ...

    async def run(self, work: Work, attempts: AttemptRecorder) -> Mapping[str, Any]:
        """The work itself, with no transaction open: the result columns of the finished row.

        Raises LLMError when it failed and LeaseLost when the row is no longer ours.
        """
        ...

    def failure(self, error: LLMError) -> Mapping[str, Any]:
        """The result columns of a row that failed for good."""
        ...

    def record_ended(self, session: Session, ended: Sequence[Ended]) -> None:
        """Whatever belongs to the end of these rows, in the same transaction."""
        ...
