"""Budgets as values: whose money, for which stretch of time, how much. Pure.

Periods are those of the UTC calendar, whatever zone a person lives in: every process agrees on when they turn.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum

EACH = "*"
_NOBODY = ""


class Scope(StrEnum):
    """Whose spending counts: everybody's together, a person's, or that of an API key."""

    SYSTEM = "system"
    USER = "user"
    KEY = "key"


class Period(StrEnum):
    HOUR = "hour"
    DAY = "day"
    MONTH = "month"

    def start(self, moment: datetime) -> datetime:
        """When the period began in which `moment` lies; both aware UTC."""
        hour = moment.replace(minute=0, second=0, microsecond=0)
        if self is Period.HOUR:
            return hour
        day = hour.replace(hour=0)
        return day if self is Period.DAY else day.replace(day=1)

    def end(self, start: datetime) -> datetime:
        """When the next one begins."""
        if self is Period.HOUR:
            return start + timedelta(hours=1)
        if self is Period.DAY:
            return start + timedelta(days=1)
        return (start + timedelta(days=32)).replace(day=1)


@dataclass(frozen=True, slots=True)
class Spender:
    """Whose money an attempt is, and when it was booked, which decides its periods."""

    user_id: str
    key_id: str | None
    booked_at: datetime

    def subject(self, scope: Scope) -> str | None:
        """None: the scope does not concern this attempt."""
        return {Scope.SYSTEM: _NOBODY, Scope.USER: self.user_id, Scope.KEY: self.key_id}[scope]


@dataclass(frozen=True, slots=True)
class Counter:
    """What counts the spending of one subject in one period."""

    scope: Scope
    subject: str
    period: Period
    start: datetime

    @property
    def key(self) -> str:
        return f"{self.scope}:{self.period}:{self.start:%Y-%m-%dT%H}:{self.subject}"


@dataclass(frozen=True, slots=True)
class Budget:
    """`subject` is a user's or a key's id, or EACH for a budget of this size for every one of them; "" of the system.

    `alert_percents`, rising: of the limit, each told once a period. `is_hard`: a call that would cross it is not made.
    """

    scope: Scope
    subject: str
    period: Period
    limit_usd: Decimal
    alert_percents: tuple[int, ...] = ()
    is_hard: bool = True

    def counter_of(self, spender: Spender) -> Counter | None:
        """None: it does not concern the attempt."""
        subject = spender.subject(self.scope)
        if subject is None or self.subject not in (EACH, subject):
            return None
        return Counter(self.scope, subject, self.period, self.period.start(spender.booked_at))

    def crossed(self, spent_usd: Decimal) -> int:
        """The highest of the alert percents that this much has reached; 0 for none."""
        share = spent_usd * 100
        return max((percent for percent in self.alert_percents if share >= percent * self.limit_usd), default=0)


def budgets_of(spender: Spender, budgets: Iterable[Budget]) -> Iterator[tuple[Budget, Counter]]:
    """Those that concern the attempt; one's own budget takes the place of the one that each has."""
    found: dict[str, tuple[Budget, Counter]] = {}
    for budget in budgets:
        counter = budget.counter_of(spender)
        if counter is not None and (budget.subject != EACH or counter.key not in found):
            found[counter.key] = budget, counter
    yield from found.values()


def covers(budgets: Sequence[Budget], user_id: str, key_id: str | None) -> bool:
    """Whether a hard budget may concern a call; an unknown person, "", may be anyone."""
    for budget in budgets:
        subject = {Scope.SYSTEM: _NOBODY, Scope.USER: user_id or budget.subject, Scope.KEY: key_id}[budget.scope]
        if budget.is_hard and subject is not None and budget.subject in (EACH, subject):
            return True
    return False
