"""Which models may be asked for a call, in which order, and why: pure, values in and values out.

Invariant: the privacy of a text is enforced here, on every way to a plan, so that no fallback can cross it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from app.accounts.privacy import Privacy
from app.errors import (
    LLMApiError,
    LLMBadRequest,
    LLMBudgetExceeded,
    LLMContextTooLong,
    LLMError,
    LLMPrivateText,
    LLMUnreachable,
    Remedy,
)
from app.llm.call import Complexity
from app.llm.extraction import ModelFacts, provider_of
from app.llm.routing_rules import ModelRule, RoutingRules, TaskRules
from app.providers.provider import KeyState, Provider

TASK_PREFIX = "task:"
_RISING = (Complexity.SIMPLE, Complexity.STANDARD, Complexity.HARD)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model that may be asked. `name` is `provider/model`; `reason` goes on the books."""

    name: str
    provider: Provider
    facts: ModelFacts
    reason: str


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A model of the plan that may not be asked now: the fault that a call ends in when there is no other."""

    name: str
    reason: str
    fault: LLMError


@dataclass(frozen=True, slots=True)
class Plan:
    """The candidates in order. Empty: `left_out` says why."""

    candidates: tuple[Candidate, ...]
    left_out: tuple[LeftOut, ...]
    rules: TaskRules

    def fault(self) -> LLMError:
        """Why there is no candidate: the first that leaves hope, else the first."""
        faults = [entry.fault for entry in self.left_out]
        return next((fault for fault in faults if fault.remedy is not Remedy.FAIL), faults[0])


@dataclass(frozen=True, slots=True)
class Wish:
    """What of a call decides its plan. `models` and `hint` are names as the caller and the prompt wrote them.

    `tokens` is what must fit into the window, the room for the answer included; 0 when the text can be cut to fit.
    `is_budgeted`: a budget has to hold it, so the model must have a price, or cost nothing.
    """

    task: str
    privacy: Privacy = Privacy.ANY
    models: tuple[str, ...] = ()
    hint: tuple[str, ...] = ()
    complexity: Complexity = Complexity.STANDARD
    tokens: int = 0
    is_budgeted: bool = False


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the plan is made from: the rules, the default plan, the providers and what is known of them now."""

    rules: RoutingRules
    default_models: Sequence[str]
    providers: Mapping[str, Provider]
    facts: Callable[[Provider, str], ModelFacts]
    is_down: Callable[[str], bool]


def make_plan(wish: Wish, around: Surroundings) -> Plan:
    """Raises LLMBadRequest for a task that has no rules, LLMPrivateText for a text that nobody may see."""
    rules = rules_of(wish.task, around, field="task")
    if wish.privacy is Privacy.NONE:
        raise LLMPrivateText
    candidates: list[Candidate] = []
    left_out: list[LeftOut] = []
    for name, reason in _names(wish, rules, around):
        judged = _judged(name, reason, wish, around)
        if isinstance(judged, Candidate):
            candidates.append(judged)
        else:
            left_out.append(judged)
    return _without_the_dead(Plan(tuple(candidates), tuple(left_out), rules), around)


def names_of(models: Iterable[str], around: Surroundings) -> list[str]:
    """`provider/model` names, each once; `task:NAME` stands for that task's plan. Raises LLMBadRequest."""
    found: list[str] = []
    for name in models:
        task = name.removeprefix(TASK_PREFIX)
        if task == name:
            found.append(name)
        else:
            found += [rule.model for rule in _listed(rules_of(task, around, field="models"), around)]
    return list(dict.fromkeys(found))


def hinted_names(wish: Wish, around: Surroundings) -> list[str]:
    """A task without rules says nothing: they may be others than when the prompt was written."""
    known = [
        name
        for name in wish.hint
        if not name.startswith(TASK_PREFIX) or around.rules.of(name.removeprefix(TASK_PREFIX)) is not None
    ]
    return names_of(known, around)


def usual_first(task: str, complexity: Complexity, around: Surroundings) -> tuple[str, str] | None:
    """The model that a plain call of the task asks first, and the reason; None where it is not known without prices."""
    rules = around.rules.of(task)
    if rules is None or rules.order == "price":
        return None
    return _in_order(rules, complexity, around)[0]


def rules_of(task: str, around: Surroundings, *, field: str) -> TaskRules:
    """Raises LLMBadRequest that names the field, for a task of which the rules know nothing."""
    rules = around.rules.of(task)
    if rules is None:
        raise LLMBadRequest("There is no task of this name.", field=field)
    return rules


def _names(wish: Wish, rules: TaskRules, around: Surroundings) -> list[tuple[str, str]]:
    """Each name once, with the reason for its place."""
    if wish.models:
        first, *others = names_of(wish.models, around)
        return [(first, "asked for by name"), *((name, "fallback by name") for name in others)]
    hinted = hinted_names(wish, around)
    planned = [entry for entry in _in_order(rules, wish.complexity, around) if entry[0] not in hinted]
    return [(name, "hint of the prompt") for name in hinted] + planned


def _in_order(rules: TaskRules, complexity: Complexity, around: Surroundings) -> list[tuple[str, str]]:
    """First those that are meant for it, then the others, the most able first: better than no answer."""
    listed = _listed(rules, around)
    able = [rule for rule in listed if _rank(rule.complexity) >= _rank(complexity)]
    others = sorted((rule for rule in listed if rule not in able), key=lambda rule: -_rank(rule.complexity))
    reason = f"listed first for {complexity} work"
    if rules.order == "price":
        able.sort(key=lambda rule: _price(rule.model, around))
        reason = f"cheapest for {complexity} work"
    named = [(rule.model, reason if place == 0 else "fallback") for place, rule in enumerate(able)]
    return named + [(rule.model, "fallback, meant for easier work") for rule in others]


def _rank(complexity: Complexity) -> int:
    return _RISING.index(complexity)


def _listed(rules: TaskRules, around: Surroundings) -> tuple[ModelRule, ...]:
    if rules.models:
        return rules.models
    # Not checked: the settings take names that the file would not.
    return tuple(ModelRule.model_construct(model=name, complexity=Complexity.HARD) for name in around.default_models)


def _price(name: str, around: Surroundings) -> tuple[bool, Decimal]:
    """Unknown prices go last: they may be anything."""
    provider = around.providers.get(provider_of(name))
    facts = around.facts(provider, name) if provider else None
    if facts is None or facts.input_price_usd is None or facts.output_price_usd is None:
        return True, Decimal(0)
    return False, facts.input_price_usd + facts.output_price_usd


def _judged(name: str, reason: str, wish: Wish, around: Surroundings) -> Candidate | LeftOut:
    provider = around.providers.get(provider_of(name))
    facts = around.facts(provider, name) if provider else None
    if provider is None or facts is None or not provider.is_enabled or not facts.is_provider_known:
        how = "disabled" if provider is not None and not provider.is_enabled else "not known here"
        # Whoever named the model is told so; a plan of the settings is for the operator to mend.
        told = LLMBadRequest(f"The provider of a model that was asked for is {how}.", field="models")
        return LeftOut(name, f"its provider is {how}", told if wish.models else LLMApiError())
    if provider.key_state is KeyState.UNREADABLE:
        return LeftOut(name, "its provider's key cannot be read", LLMApiError())
    if wish.privacy is Privacy.LOCAL_ONLY and not provider.is_local:
        return LeftOut(name, "the text stays on own machines", LLMPrivateText())
    if facts.context_window is not None and wish.tokens > facts.context_window:
        return LeftOut(name, f"reads {facts.context_window} of {wish.tokens} tokens", LLMContextTooLong())
    if wish.is_budgeted and _is_unpriced(provider, facts):
        return LeftOut(name, "unpriced", LLMBudgetExceeded(is_unpriced=True))
    return Candidate(name, provider, facts, reason)


def _is_unpriced(provider: Provider, facts: ModelFacts) -> bool:
    return not provider.is_local and None in (facts.input_price_usd, facts.output_price_usd)


def _without_the_dead(plan: Plan, around: Surroundings) -> Plan:
    """Providers that the health check found down leave the plan. Not when all are: then the check may be wrong."""
    dead = [candidate for candidate in plan.candidates if around.is_down(candidate.provider.name)]
    if not dead or len(dead) == len(plan.candidates):
        return plan
    alive = tuple(candidate for candidate in plan.candidates if candidate not in dead)
    down = tuple(
        LeftOut(candidate.name, "its provider is down", LLMUnreachable(remedy=Remedy.WAIT)) for candidate in dead
    )
    return replace(plan, candidates=alive, left_out=plan.left_out + down)
