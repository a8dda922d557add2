"""Budgets on the wire. Amounts are decimal texts: JSON's numbers are read as floats, and cents would get lost."""

from decimal import Decimal
from typing import Annotated

from pydantic import BeforeValidator, ConfigDict, Field, PlainSerializer, StrictBool, WithJsonSchema

from app.spending.budget import Budget, Period, Scope
from app.web import Id, WireModel, WireTime

_MOST_BUDGETS = 1000


def exact(usd: Decimal) -> str:
    """Without an exponent, and without zeros at the end."""
    text = f"{usd:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


Usd = Annotated[
    Decimal,
    PlainSerializer(exact, return_type=str),
    WithJsonSchema({"type": "string", "pattern": r"^-?\d+(\.\d+)?$"}, mode="serialization"),
]
_Limit = Annotated[str, Field(pattern=r"^[0-9]{1,6}(\.[0-9]{1,12})?$", examples=["12.50"])]


def _number(value: object) -> object:
    """Not strict: 5.0 is a whole number in JSON. A text or a truth value is none."""
    if isinstance(value, str | bool):
        raise ValueError("must be a whole number")  # noqa: TRY004 - pydantic takes no TypeError
    return value


_Whole = Annotated[int, Field(ge=1, le=1000)]
_Percent = Annotated[_Whole, BeforeValidator(_number, json_schema_input_type=_Whole)]


class _Closed(WireModel):
    model_config = ConfigDict(extra="forbid")  # a misspelt `alertsOnly` would refuse calls


class BudgetIn(_Closed):
    """`subject` is the id of a user or of an API key, "*" for each of them, and left out for the system.

    At `alertPercents` of the limit an alert is sent, once a period. With `alertsOnly` no call is refused.
    """

    scope: Scope
    subject: Id | None = None
    period: Period
    limit_usd: _Limit
    alert_percents: Annotated[list[_Percent], Field(max_length=10)] = Field(default_factory=lambda: [80, 100])
    alerts_only: StrictBool = False

    def to_budget(self) -> Budget:
        percents = tuple(sorted(set(self.alert_percents)))
        return Budget(
            self.scope, self.subject or "", self.period, Decimal(self.limit_usd), percents, is_hard=not self.alerts_only
        )


class BudgetsIn(_Closed):
    budgets: Annotated[list[BudgetIn], Field(max_length=_MOST_BUDGETS)]


class BudgetOut(WireModel):
    """`usedUsd` counts calls under way with the most that they may cost; null for a budget of each."""

    scope: Scope
    subject: str | None
    period: Period
    limit_usd: Usd
    alert_percents: list[int]
    alerts_only: bool
    used_usd: Usd | None
    reset_at: WireTime


class BudgetsOut(WireModel):
    budgets: list[BudgetOut]
