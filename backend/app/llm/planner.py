"""Makes the plan of a call from what this process knows now: rules, providers, prices, health."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from app.config import LLMSettings
from app.errors import LLMDisabled
from app.llm.call import Call, Complexity, Spender
from app.llm.extraction import ModelFacts, provider_of
from app.llm.local_models import LocalModels, is_local_server
from app.llm.requests import wish_of
from app.llm.routing import (
    TASK_PREFIX,
    Plan,
    Surroundings,
    Wish,
    hinted_names,
    make_plan,
    names_of,
    rules_of,
    usual_first,
)
from app.llm.routing_rules import RoutingRules
from app.llm.vendors.upstreams import Upstreams
from app.prompts.template import ModelHints
from app.providers.provider import Provider

IsBudgeted = Callable[[Spender], bool]
STUB_MODEL = "stub/stub"


def unbudgeted(_spender: Spender) -> bool:
    """Where nobody keeps budgets."""
    return False


@dataclass(frozen=True, slots=True)
class Planner:
    """`providers` and `is_down` are asked anew for each plan: they change while the process runs."""

    settings: LLMSettings
    rules: RoutingRules
    upstreams: Upstreams
    local_models: LocalModels
    providers: Callable[[], Mapping[str, Provider]]
    is_down: Callable[[str], bool]
    is_budgeted: IsBudgeted

    async def plan(self, call: Call) -> Plan:
        """Raises LLMDisabled, and as `make_plan` does."""
        if not self._is_on:
            raise LLMDisabled
        around = self._surroundings()
        rules_of(call.task, around, field="task")
        wish = replace(wish_of(call), is_budgeted=self.is_budgeted(call.spender))
        models = self._models_of(wish, around)
        # The vendors' code has the models' prices and windows in its tables.
        if any(provider.kind.has_wire for provider, _ in models):
            await self.upstreams.start()
        await self.local_models.learn(self._unknown(models))
        return make_plan(wish, around)

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
        around = self._surroundings()
        first = usual_first(task, Complexity(hints.complexity or Complexity.STANDARD), around)
        provider = around.providers.get(provider_of(first[0])) if first else None
        return first if provider is not None and provider.is_enabled and not self.is_down(provider.name) else None

    def known_models(self) -> list[str]:
        """In the order of the plans, then those that the providers list."""
        around = self._surroundings()
        planned = names_of([f"{TASK_PREFIX}{task}" for task in self.rules.tasks], around)
        listed = [f"{name}/{spec.name}" for name, provider in around.providers.items() for spec in provider.models]
        return list(dict.fromkeys(planned + listed))

    @property
    def needs_vendors(self) -> bool:
        """Whether a provider is asked by the vendors' code."""
        known = self.providers().values()
        return self.settings.enabled and any(entry.is_enabled and entry.kind.has_wire for entry in known)

    @property
    def _is_on(self) -> bool:
        return self.settings.enabled or self.settings.disabled_mode == "stub"

    def _surroundings(self) -> Surroundings:
        return Surroundings(self.rules, self._default_models(), self.providers(), self._facts, self.is_down)

    def _default_models(self) -> list[str]:
        is_stub = self.settings.provider == "stub" or not self.settings.enabled
        return [STUB_MODEL] if is_stub else self.settings.models

    def look_again(self, provider: str) -> None:
        """At the windows of its models, where it is one that can be asked: it was seen alive, or not."""
        found = self.providers().get(provider)
        if self._is_on and found is not None and is_local_server(found) and not self.is_down(provider):
            self.local_models.look_again(found, [name for name in self.known_models() if provider_of(name) == provider])

    def _models_of(self, wish: Wish, around: Surroundings) -> list[tuple[Provider, str]]:
        """Those that may be asked for it, as far as their providers are known."""
        usual = (*hinted_names(wish, around), f"{TASK_PREFIX}{wish.task}")
        names = names_of(wish.models or usual, around)
        found = ((around.providers.get(provider_of(name)), name) for name in names)
        return [(provider, name) for provider, name in found if provider is not None]

    def _unknown(self, models: Iterable[tuple[Provider, str]]) -> list[tuple[Provider, str]]:
        """Of local servers that are there: those whose window is not known."""
        return [
            (provider, name)
            for provider, name in models
            if is_local_server(provider)
            and not self.is_down(provider.name)
            and self.upstreams.facts(provider, name).context_window is None
        ]

    def _facts(self, provider: Provider, model: str) -> ModelFacts:
        return self.local_models.over(provider, model, self.upstreams.facts(provider, model))
