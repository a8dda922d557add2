"""Makes the plan of a call from what this process knows now: rules, providers, prices, health."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from app.config import LLMSettings
from app.errors import LLMDisabled
from app.llm.call import Call, Complexity, Spender
from app.llm.extraction import ModelFacts, provider_of
from app.llm.requests import wish_of
from app.llm.routing import TASK_PREFIX, Plan, Surroundings, hinted_names, make_plan, names_of, rules_of, usual_first
from app.llm.routing_rules import RoutingRules
from app.llm.vendors.upstreams import Upstreams
from app.prompts.template import ModelHints
from app.providers.provider import Provider, ProviderKind

IsBudgeted = Callable[[Spender], bool]
STUB_MODEL = "stub/stub"
_WITHOUT_WIRE = frozenset({ProviderKind.STUB, ProviderKind.MOCK})


def unbudgeted(_spender: Spender) -> bool:
    """Where nobody keeps budgets."""
    return False


@dataclass(frozen=True, slots=True)
class Planner:
    """`providers` and `is_down` are asked anew for each plan: they change while the process runs."""

    settings: LLMSettings
    rules: RoutingRules
    upstreams: Upstreams
    providers: Callable[[], Mapping[str, Provider]]
    is_down: Callable[[str], bool]
    is_budgeted: IsBudgeted

    async def plan(self, call: Call) -> Plan:
        """Raises LLMDisabled, and as `make_plan` does."""
        if not self._is_on:
            raise LLMDisabled
        around = self._surroundings()
        rules_of(call.task, around, field="task")
        if self._needs_wire(call, around):
            await self.upstreams.start()
        return make_plan(replace(wish_of(call), is_budgeted=self.is_budgeted(call.spender)), around)

    def usual(self, task: str) -> list[str]:
        """The models of a task, as far as they are known without a call; those of providers that are down are left out.

        Raises LLMBadRequest for a task that has no rules.
        """
        names = names_of((f"{TASK_PREFIX}{task}",), self._surroundings())
        return [name for name in names if not self.is_down(provider_of(name))] or names

    def usual_first(self, task: str, hints: ModelHints) -> tuple[str, str] | None:
        """The model that a plain call with such a prompt asks first, and why; None when that depends."""
        if hints.models or hints.task not in {None, task}:
            return None
        first = usual_first(task, Complexity(hints.complexity or Complexity.STANDARD), self._surroundings())
        return None if first is None or self.is_down(provider_of(first[0])) else first

    def known_models(self) -> list[str]:
        """In the order of the plans, then those that the providers list."""
        around = self._surroundings()
        planned = names_of([f"{TASK_PREFIX}{task}" for task in self.rules.tasks], around)
        listed = [f"{name}/{spec.name}" for name, provider in around.providers.items() for spec in provider.models]
        return list(dict.fromkeys(planned + listed))

    @property
    def needs_vendors(self) -> bool:
        """Whether a provider is asked by the vendors' code."""
        wired = (entry for entry in self.providers().values() if entry.kind not in _WITHOUT_WIRE)
        return self.settings.enabled and any(provider.is_enabled for provider in wired)

    @property
    def _is_on(self) -> bool:
        return self.settings.enabled or self.settings.disabled_mode == "stub"

    def _surroundings(self) -> Surroundings:
        return Surroundings(self.rules, self._default_models(), self.providers(), self._facts, self.is_down)

    def _default_models(self) -> list[str]:
        is_stub = self.settings.provider == "stub" or not self.settings.enabled
        return [STUB_MODEL] if is_stub else self.settings.models

    def _needs_wire(self, call: Call, around: Surroundings) -> bool:
        """Whether the vendors' code is needed to know the models: their prices and windows are in its tables."""
        wish = wish_of(call)
        usual = (*hinted_names(wish, around), f"{TASK_PREFIX}{wish.task}")
        names = names_of(wish.models or usual, around)
        found = [around.providers.get(provider_of(name)) for name in names]
        return any(provider is not None and provider.kind not in _WITHOUT_WIRE for provider in found)

    def _facts(self, provider: Provider, model: str) -> ModelFacts:
        return self.upstreams.facts(provider, model)
