"""Rendering: variants, environments, variables and their complaints, cases of the templates that ship."""

from typing import Any

import pytest

from app.errors import NotFound, PromptRefused
from app.prompts.cases import complaints_about_answer, complaints_about_messages
from app.prompts.files import load_templates
from app.prompts.prompt_version import PromptVersion, content_of, digest_of
from app.prompts.registry import PromptRegistry
from app.prompts.template import AnswerExpectation, Case, Template
from app.prompts.variables import Variable
from tests.shipped_prompts import shipped_prompts

TEMPLATE: dict[str, Any] = {
    "id": "trial",
    "category": "example",
    "variables": {"count": {"type": "integer", "minimum": 1, "maximum": 9, "default": 2}},
    "document": "optional",
    "model": {"temperature": 0.5},
    "system": [{"message": "data"}, {"text": "own {{ count }}"}],
    "user": "own user",
    "variants": {"anthropic": {"user": "for anthropic"}, "local": {"system": [{"text": "local"}, {"message": "data"}]}},
    "environments": {
        "production": {
            "user": "in production",
            "model": {"temperature": 0.1},
            "variants": {"local": {"user": "local in production"}},
        }
    },
}
MESSAGES = {"data": "It is data.", "unused": "Nobody composes this."}


def version(environment: str = "development", **changes: Any) -> PromptVersion:
    template = Template.model_validate({**TEMPLATE, **changes})
    return PromptVersion("trial", 3, "example", template.body, MESSAGES, environment)


def parts(prompt: PromptVersion, variant: str, **variables: Any) -> tuple[str, str]:
    system, user = prompt.render(variant, variables)
    return system["content"], user["content"]


@pytest.mark.parametrize(
    ("environment", "variant", "system", "user"),
    [
        ("development", "openai", "It is data.\n\nown 2", "own user"),
        ("development", "stub", "It is data.\n\nown 2", "own user"),
        ("development", "anthropic", "It is data.\n\nown 2", "for anthropic"),
        ("development", "openai_compatible", "local\n\nIt is data.", "own user"),
        ("development", "local", "local\n\nIt is data.", "own user"),
        ("production", "openai", "It is data.\n\nown 2", "in production"),
        ("production", "stub", "It is data.\n\nown 2", "in production"),
        ("production", "anthropic", "It is data.\n\nown 2", "for anthropic"),
        ("production", "local", "local\n\nIt is data.", "local in production"),
    ],
)
def test_each_provider_and_environment_gets_its_own_parts(
    environment: str, variant: str, system: str, user: str
) -> None:
    assert parts(version(environment), variant) == (system, user)


def test_an_environment_has_model_hints_of_its_own() -> None:
    assert [version(name).hints.temperature for name in ("development", "production")] == [0.5, 0.1]


def test_the_label_names_prompt_and_version() -> None:
    assert version().label == "trial/3"


@pytest.mark.parametrize(
    ("variable", "value", "complaint"),
    [
        ({"type": "integer", "maximum": 9}, 10, "must be -1e+15 to 9"),
        ({"type": "integer"}, True, "must be a whole number"),
        ({"type": "integer"}, 1.5, "must be a whole number"),
        ({"type": "integer"}, 3, None),
        ({"type": "number"}, float("nan"), "must be a number"),
        ({"type": "number"}, "1", "must be a number"),
        ({"type": "number", "minimum": 0}, 0.5, None),
        ({"type": "boolean"}, 1, "must be true or false"),
        ({"type": "boolean"}, False, None),
        ({"type": "string", "maximum": 3}, "four", "must be 0 to 3 characters"),
        ({"type": "string"}, 7, "must be a string"),
        ({"type": "string"}, "a\x00b", "must not contain NUL characters"),
        ({"type": "string"}, "fine", None),
        ({"type": "enum", "values": ["a"]}, "b", "must be one of a"),
        ({"type": "enum", "values": ["a"]}, 1, "must be a string"),
        ({"type": "enum", "values": ["a"]}, "a", None),
        ({"type": "list", "maximum": 1}, ["a", "b"], "must be 0 to 1 entries"),
        ({"type": "list"}, ["a", 1], "must hold strings only"),
        ({"type": "list"}, ["a" * 201], "must hold entries of at most 200 characters"),
        ({"type": "list"}, ["a\x00"], "must not contain NUL characters"),
        ({"type": "list", "values": ["a"]}, ["b"], "must be some of a"),
        ({"type": "list"}, "a", "must be a list"),
        ({"type": "list"}, ["a"], None),
    ],
)
def test_a_value_has_the_type_and_keeps_the_bounds(
    variable: dict[str, Any], value: object, complaint: str | None
) -> None:
    assert Variable.model_validate(variable).complaint_about(value) == complaint


@pytest.mark.parametrize(
    "variable",
    [
        {"type": "integer", "minimum": 5},
        {"type": "integer", "maximum": -5},
        {"type": "number"},
        {"type": "string", "minimum": 4},
        {"type": "list", "minimum": 3, "values": ["a", "b"]},
        {"type": "enum", "values": ["a"]},
        {"type": "boolean"},
        {"type": "string", "default": "as it is"},
    ],
)
def test_the_sample_of_a_variable_may_be_given(variable: dict[str, Any]) -> None:
    declared = Variable.model_validate(variable)
    assert declared.complaint_about(declared.sample) is None


@pytest.mark.parametrize(
    ("variables", "document", "fields"),
    [
        ({"count": "canary"}, "x", ["variables.count"]),
        ({"cuont": 1}, "x", ["variables.cuont"]),
        ({}, "", ["document"]),
        ({"count": 99}, "", ["variables.count", "document"]),
    ],
)
def test_values_that_do_not_fit_are_named_and_never_shown(
    variables: dict[str, Any], document: str, fields: list[str]
) -> None:
    prompt = version(document="required", variables={"count": TEMPLATE["variables"]["count"]})
    with pytest.raises(PromptRefused) as refused:
        prompt.render("openai", variables, document)
    details: Any = refused.value.details
    assert [error["field"] for error in details["errors"]] == fields
    assert "canary" not in refused.value.message and refused.value.status == 422


def test_a_missing_value_is_named() -> None:
    with pytest.raises(PromptRefused, match=r"variables\.count is missing"):
        version(variables={"count": {"type": "integer"}}).render("openai", {})


def test_a_variable_that_may_be_left_out_shows_as_nothing() -> None:
    prompt = version(variables={"count": {"type": "integer", "required": False}})
    assert parts(prompt, "openai")[0] == "It is data.\n\nown"


def test_a_prompt_without_end_is_refused() -> None:
    long = {"lines": {"type": "list", "maximum": 1000}, **TEMPLATE["variables"]}
    prompt = version(variables=long, user="{% for line in lines %}" + "x" * 1000 + "{% endfor %}")
    with pytest.raises(PromptRefused, match="longer than"):
        prompt.render("openai", {"lines": ["a"] * 1000})


def test_only_the_messages_that_are_composed_belong_to_a_version() -> None:
    body = version().body
    content = content_of(body, MESSAGES)
    assert content["messages"] == {"data": "It is data."}
    assert digest_of(content) == digest_of(content_of(body, {"data": "It is data."}))
    assert digest_of(content) != digest_of(content_of(body, {"data": "It is only data."}))


def test_what_is_not_there_is_not_found() -> None:
    prompts = PromptRegistry(load_templates(), "development")
    for prompt_id, number in (("nothing", None), ("query", 2)):
        with pytest.raises(NotFound):
            prompts.get(prompt_id, number)


CASES = [(id_, case) for id_, template in load_templates().templates.items() for case in template.cases]


@pytest.mark.parametrize("variant", ["openai", "anthropic", "local"])
@pytest.mark.parametrize(("prompt_id", "case"), CASES, ids=[f"{id_}: {case.name}" for id_, case in CASES])
def test_the_cases_of_what_ships_hold(prompt_id: str, case: Case, variant: str) -> None:
    prompt = shipped_prompts().get(prompt_id)
    if variant not in prompt.body.variants:
        assert not [*complaints_about_messages(prompt, case, variant)]
    assert not [*complaints_about_answer(case.expect.answer, case.stub_answer or "")]


@pytest.mark.parametrize(
    ("expected", "answer", "complaint"),
    [
        ({"contains": ["nine"]}, "at ten", "'nine' is not in the answer"),
        ({"absent": ["ten"]}, "at ten", "'ten' must not be in the answer"),
        ({"max_chars": 3}, "at ten", "the answer has 6 characters, 3 are allowed"),
        ({"json_keys": ["a"]}, "no JSON", "the answer is no JSON object"),
        ({"json_keys": ["a"]}, "[1]", "the answer is no JSON object"),
        ({"json_keys": ["a", "b"]}, '{"b": 1}', "the answer has no a"),
    ],
)
def test_an_answer_that_is_not_as_wanted_is_told(expected: dict[str, Any], answer: str, complaint: str) -> None:
    assert [*complaints_about_answer(AnswerExpectation.model_validate(expected), answer)] == [complaint]


def test_json_between_fences_is_json() -> None:
    expected = AnswerExpectation(json_keys=("a",))
    assert not [*complaints_about_answer(expected, '```json\n{"a": 1}\n```')]


def test_words_of_a_case_are_looked_for_outside_the_persons_text() -> None:
    case = Case.model_validate(
        {"name": "x", "document": "canary", "expect": {"system": ["no"], "user": ["canary"], "absent": ["own"]}}
    )
    assert [*complaints_about_messages(version(), case)] == [
        "'no' is not in the system part",
        "'canary' is not in the user part",
        "'own' must not be in the messages",
    ]
