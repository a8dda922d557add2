"""Routing: rules, names, prices, privacy and health in, an ordered plan with reasons out."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.accounts.privacy import Privacy
from app.errors import (
    LLMApiError,
    LLMBadRequest,
    LLMContextTooLong,
    LLMError,
    LLMPrivateText,
    LLMUnreachable,
    Remedy,
    StartRefused,
)
from app.llm.call import Complexity
from app.llm.extraction import ModelFacts
from app.llm.routing import Plan, Surroundings, Wish, make_plan, names_of, usual_first
from app.llm.routing_rules import RoutingRules, load_rules
from app.providers.provider import KeyState, Provider, ProviderKind

CHEAP, DEAR, LOCAL, UNPRICED = "cloud/cheap", "cloud/dear", "home/llama", "other/odd"
PROVIDERS = {
    "cloud": Provider("cloud", ProviderKind.OPENAI),
    "home": Provider("home", ProviderKind.OPENAI_COMPATIBLE, is_local=True),
    "other": Provider("other", ProviderKind.ANTHROPIC),
}
KNOWN = {
    CHEAP: ModelFacts("cloud", input_price_usd=Decimal(1), output_price_usd=Decimal(1), context_window=1000),
    DEAR: ModelFacts("cloud", input_price_usd=Decimal(9), output_price_usd=Decimal(9), context_window=9000),
    LOCAL: ModelFacts("home", input_price_usd=Decimal(0), output_price_usd=Decimal(0)),
    UNPRICED: ModelFacts("other"),
    "home/odd": ModelFacts("home"),
    "other/nowhere": ModelFacts("other", is_provider_known=False),
}
BUDGET_ORDER = [CHEAP, UNPRICED, "home/odd"]
RULES = {
    "plain": {},
    "mixed": {
        "models": [
            {"model": CHEAP, "complexity": "simple"},
            {"model": DEAR, "complexity": "hard"},
            {"model": UNPRICED, "complexity": "standard"},
        ]
    },
    "thrifty": {"order": "price", "models": [{"model": UNPRICED}, {"model": DEAR}, {"model": CHEAP}]},
}
AROUND = Surroundings(
    RoutingRules.model_validate({"tasks": RULES}),
    [CHEAP, LOCAL],
    PROVIDERS,
    lambda _provider, model: KNOWN[model],
    lambda _provider: False,
)


def plan(task: str = "plain", *, around: Surroundings = AROUND, **wish: object) -> Plan:
    return make_plan(replace(Wish(task), **wish), around)  # type: ignore[arg-type]


def order(found: Plan) -> list[str]:
    return [candidate.name for candidate in found.candidates]


def test_a_hint_goes_before_the_plan_and_says_so() -> None:
    found = plan("mixed", hint=(LOCAL, "task:thrifty"))
    assert order(found) == [LOCAL, UNPRICED, DEAR, CHEAP]
    assert {candidate.reason for candidate in found.candidates} == {"hint of the prompt"}


def test_a_hint_of_a_task_without_rules_says_nothing() -> None:
    assert order(plan(hint=("task:gone",))) == order(plan())


def test_a_task_without_models_has_the_plan_of_the_settings() -> None:
    found = plan()
    assert order(found) == [CHEAP, LOCAL]
    assert [candidate.reason for candidate in found.candidates] == ["listed first for standard work", "fallback"]


@pytest.mark.parametrize(
    ("complexity", "expected"),
    [
        (Complexity.SIMPLE, [CHEAP, DEAR, UNPRICED]),
        (Complexity.STANDARD, [DEAR, UNPRICED, CHEAP]),
        (Complexity.HARD, [DEAR, UNPRICED, CHEAP]),
    ],
)
def test_those_that_are_meant_for_the_work_come_first_and_the_others_after(
    complexity: Complexity, expected: list[str]
) -> None:
    assert order(plan("mixed", complexity=complexity)) == expected


def test_what_is_meant_for_easier_work_says_so() -> None:
    assert plan("mixed").candidates[-1].reason == "fallback, meant for easier work"


def test_by_price_the_cheapest_comes_first_and_an_unknown_price_last() -> None:
    found = plan("thrifty")
    assert order(found) == [CHEAP, DEAR, UNPRICED]
    assert found.candidates[0].reason == "cheapest for standard work"


def test_what_is_asked_first_is_known_beforehand_but_for_prices() -> None:
    assert usual_first("mixed", Complexity.STANDARD, AROUND) == (DEAR, "listed first for standard work")
    assert usual_first("thrifty", Complexity.STANDARD, AROUND) is None
    assert usual_first("nonsense", Complexity.STANDARD, AROUND) is None


def test_the_price_of_a_provider_that_is_gone_is_unknown() -> None:
    around = replace(AROUND, providers={"other": PROVIDERS["other"]})
    assert order(plan("thrifty", around=around)) == [UNPRICED]


def test_models_by_name_replace_the_plan_each_once_in_order() -> None:
    found = plan(models=(DEAR, LOCAL, DEAR))
    assert [(candidate.name, candidate.reason) for candidate in found.candidates] == [
        (DEAR, "asked for by name"),
        (LOCAL, "fallback by name"),
    ]


def test_task_and_a_name_stands_for_the_plan_of_that_task() -> None:
    assert names_of(("task:mixed", LOCAL), AROUND) == [CHEAP, DEAR, UNPRICED, LOCAL]
    assert order(plan(models=("task:plain",))) == [CHEAP, LOCAL]


def test_the_hint_of_a_prompt_comes_before_the_plan() -> None:
    found = plan(hint=(LOCAL,))
    assert [(candidate.name, candidate.reason) for candidate in found.candidates] == [
        (LOCAL, "hint of the prompt"),
        (CHEAP, "listed first for standard work"),
    ]


@pytest.mark.parametrize(
    ("wish", "field"), [({"task": "nonsense"}, "task"), ({"models": ("task:nonsense",)}, "models")]
)
def test_an_unknown_task_is_named(wish: dict[str, object], field: str) -> None:
    with pytest.raises(LLMBadRequest) as caught:
        make_plan(replace(Wish("plain"), **wish), AROUND)  # type: ignore[arg-type]
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("change", "model", "kind"),
    [
        ({}, "nowhere/model", LLMBadRequest),
        ({}, "other/nowhere", LLMBadRequest),
        ({"is_enabled": False}, CHEAP, LLMBadRequest),
        ({"key_state": KeyState.UNREADABLE}, CHEAP, LLMApiError),
    ],
)
def test_what_cannot_be_asked_is_left_out_with_its_reason(
    change: dict[str, object], model: str, kind: type[LLMError]
) -> None:
    cloud = replace(PROVIDERS["cloud"], **change)  # type: ignore[arg-type]
    found = plan(around=replace(AROUND, providers={**PROVIDERS, "cloud": cloud}), models=(model,))
    assert found.candidates == ()
    assert found.left_out[0].reason.startswith("its provider")
    assert type(found.fault()) is kind


def test_a_plan_of_the_settings_with_an_unknown_provider_is_not_the_callers_fault() -> None:
    found = plan(around=replace(AROUND, default_models=["nowhere/model"]))
    assert type(found.fault()) is LLMApiError


@pytest.mark.parametrize(("tokens", "expected"), [(1000, [CHEAP, DEAR]), (1001, [DEAR]), (9001, [])])
def test_what_does_not_fit_goes_to_a_larger_window(tokens: int, expected: list[str]) -> None:
    found = plan(models=(CHEAP, DEAR), tokens=tokens)
    assert order(found) == expected
    if not expected:
        assert isinstance(found.fault(), LLMContextTooLong)


def test_an_unknown_window_is_tried() -> None:
    assert order(plan(models=(UNPRICED,), tokens=10**9)) == [UNPRICED]


def test_a_provider_that_is_down_leaves_the_plan() -> None:
    found = plan(around=replace(AROUND, is_down=lambda provider: provider == "cloud"))
    assert order(found) == [LOCAL]
    assert (found.left_out[0].name, found.left_out[0].fault.remedy) == (CHEAP, Remedy.WAIT)


def test_when_all_are_down_they_are_asked_all_the_same() -> None:
    assert order(plan(around=replace(AROUND, is_down=lambda _provider: True))) == [CHEAP, LOCAL]


def test_the_fault_of_an_empty_plan_is_one_that_leaves_hope() -> None:
    found = plan(around=replace(AROUND, is_down=lambda provider: provider == "cloud"), privacy=Privacy.LOCAL_ONLY)
    assert order(found) == [LOCAL]
    empty = replace(
        found, candidates=(), left_out=(*found.left_out, replace(found.left_out[0], fault=LLMUnreachable()))
    )
    assert isinstance(empty.fault(), LLMUnreachable)


@given(
    st.lists(st.sampled_from([CHEAP, DEAR, LOCAL, UNPRICED, "task:mixed", "task:plain"]), max_size=5),
    st.lists(st.sampled_from([CHEAP, LOCAL, "task:thrifty"]), max_size=2),
    st.sampled_from(["plain", "mixed", "thrifty"]),
    st.sampled_from(list(Complexity)),
    st.sets(st.sampled_from(["cloud", "home", "other"])),
)
def test_a_text_that_stays_at_home_is_never_offered_to_a_cloud(
    models: list[str], hint: list[str], task: str, complexity: Complexity, down: set[str]
) -> None:
    wish = Wish(task, Privacy.LOCAL_ONLY, tuple(models), tuple(hint), complexity)
    found = make_plan(wish, replace(AROUND, is_down=down.__contains__))
    assert all(candidate.provider.is_local for candidate in found.candidates)
    assert found.candidates or isinstance(found.fault(), LLMPrivateText | LLMUnreachable)


def test_a_text_for_nobody_is_offered_to_nobody() -> None:
    with pytest.raises(LLMPrivateText):
        plan(privacy=Privacy.NONE)


def test_the_rules_that_ship_know_the_tasks() -> None:
    rules = load_rules()
    assert {"enrichment", "extraction", "query", "chat", "image_prompt"} <= set(rules.tasks)
    assert rules.tasks["enrichment"].models == ()
    assert rules.tasks["enrichment"].cache_seconds > rules.tasks["chat"].cache_seconds == 0


@pytest.fixture
def rules_file(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = tmp_path / "rules.yaml"
        path.write_text(text)
        return path

    return write


def test_what_a_task_does_not_say_the_defaults_say(rules_file: Callable[[str], Path]) -> None:
    path = rules_file("defaults: {stall_seconds: 7}\ntasks: {a: {stall_seconds: 3}, b: }\n")
    rules = load_rules(path)
    assert [rules.tasks[name].stall_seconds for name in ("a", "b")] == [3, 7]


def test_a_file_of_some_tasks_leaves_the_others_their_defaults(rules_file: Callable[[str], Path]) -> None:
    rules = load_rules(rules_file("defaults: {stall_seconds: 7}\ntasks: {query: {stall_seconds: 3}}\n"))
    assert set(rules.tasks) == set(load_rules().tasks)
    assert (rules.tasks["query"].stall_seconds, rules.tasks["chat"].stall_seconds) == (3, 7)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("tasks: {a: {stall: 3}}", "tasks.a.stall"),
        ("tasks: {a: {stall_seconds: -1}}", "tasks.a.stall_seconds"),
        ("tasks: {a: {models: [{model: nameless}]}}", "tasks.a.models.0.model"),
        ("tasks: {a: 3}", "tasks.a"),
        ("tasks: 3", "tasks"),
        ("- 1", "the file"),
        ("defaults: 3\ntasks: {a: {}}", "defaults"),
        ("tasks:\n  a: [", "line"),
    ],
)
def test_a_mistake_in_the_file_is_named_with_its_place(text: str, told: str, rules_file: Callable[[str], Path]) -> None:
    with pytest.raises(StartRefused, match=told):
        load_rules(rules_file(text))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StartRefused, match="LITEVAULT_LLM_ROUTING_FILE"):
        load_rules(tmp_path / "nowhere.yaml")


def test_under_a_budget_a_model_without_a_price_is_left_out_unless_it_is_local() -> None:
    plan = make_plan(Wish("plain", models=tuple(BUDGET_ORDER), is_budgeted=True), AROUND)
    assert [candidate.name for candidate in plan.candidates] == [CHEAP, "home/odd"]
    assert [(entry.name, entry.reason) for entry in plan.left_out] == [(UNPRICED, "unpriced")]


def test_a_plan_without_any_price_waits_under_a_budget() -> None:
    fault = make_plan(Wish("plain", models=(UNPRICED,), is_budgeted=True), AROUND).fault()
    assert (fault.code, fault.remedy) == ("LLM_BUDGET_EXCEEDED", Remedy.WAIT)
