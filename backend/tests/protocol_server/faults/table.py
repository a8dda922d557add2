"""The table of faults, and the expressions that name them.

`FAULTS` work on every answer, `STREAM_FAULTS` on streams alone: one of these in a call that asks for no
stream is refused as a typing error would be, because it could only pass for a good call. A fault expression is
`ok`, `name`, `name=number`, or several joined by `+` (`latency=0.2+500`), applied in turn.
"""

from functools import lru_cache

import orjson

from tests.protocol_server.answers import Ask, enrichment_for, words_for
from tests.protocol_server.faults.content import CONTENT_FAULTS
from tests.protocol_server.faults.plan import Fault, FaultTable, Plan
from tests.protocol_server.faults.stream import STREAM_FAULTS
from tests.protocol_server.faults.upstream import UPSTREAM_FAULTS
from tests.protocol_server.instances import instance_of
from tests.protocol_server.scripted import Answer

OK = "ok"
FAULTS: FaultTable = {**UPSTREAM_FAULTS, **CONTENT_FAULTS}
ALL_FAULTS: FaultTable = {**FAULTS, **STREAM_FAULTS}


class UnknownFaultError(ValueError):
    """A fault expression names a fault that is not in the table, or its parameter is no number."""


@lru_cache(maxsize=1024)
def parse_expression(expression: str) -> tuple[tuple[Fault, float], ...]:
    """The faults of one expression with their parameters, none for `ok`. Raises UnknownFaultError."""
    parsed = []
    for part in expression.split("+"):
        name, has_value, value = part.strip().partition("=")
        if name == OK and not has_value:
            continue
        found = ALL_FAULTS.get(name)
        if found is None or (has_value and found.default is None):
            raise UnknownFaultError(f"unknown fault or parameter: {part.strip()!r}")
        try:
            parsed.append((found, float(value) if has_value else found.default or 0.0))
        except ValueError:
            raise UnknownFaultError(f"parameter is no number: {part.strip()!r}") from None
    return tuple(parsed)


def plan_for(ask: Ask, expression: str, answer: Answer | None = None) -> Plan:
    """The plan of the good answer, then edited by each fault of the expression in turn. Raises UnknownFaultError,
    and ValueError for a schema that nothing can be made of.
    """
    plan = _good_plan(ask, answer)
    for found, value in parse_expression(expression):
        if found.name in STREAM_FAULTS and not ask.stream:
            raise UnknownFaultError(f"only a stream can have this fault: {found.name!r}")
        found.apply(plan, value)
    return plan


def _good_plan(ask: Ask, answer: Answer | None) -> Plan:
    plan = Plan(ask=ask, fields=enrichment_for(ask.first_text), is_streamed=ask.stream)
    if isinstance(answer, str):
        plan.words, plan.is_spoken = answer, True
    elif answer is not None:
        plan.fields = dict(answer)
    elif ask.mode == "plain":
        plan.words = words_for(ask.last_text)
    else:
        made = instance_of(ask.schema, plan.fields)
        if isinstance(made, dict):
            plan.fields = made
        else:
            plan.words = orjson.dumps(made).decode()
    return plan
