"""A caller's JSON schema: what is no schema, or could cost too much, is refused before anybody is asked."""

import gc
import weakref
from typing import Any

import pytest
from pydantic import ValidationError

from app.errors import QueryRefused
from app.queries.structure import check_schema, form_of
from tests.llm.gateway_calls import Door, chat, door
from tests.protocol_server.server import ProtocolServer

TEXT = {"type": "string"}


def described(**parts: Any) -> dict[str, Any]:
    return {"type": "object", **parts}


def billion() -> dict[str, Any]:
    """Each level refers to the one below it twice."""
    levels: dict[str, Any] = {"l0": {"type": "string"}}
    for level in range(1, 40):
        below = {"$ref": f"#/$defs/l{level - 1}"}
        levels[f"l{level}"] = {"allOf": [below, below]}
    return described(**{"$defs": levels}, properties={"a": {"$ref": "#/$defs/l39"}})


def deep(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = described()
    for _ in range(depth):
        schema = described(properties={"a": schema})
    return schema


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "string"},
        described(properties=[]),
        described(properties={"a": {"type": "text"}}),
        described(required="a"),
        described(properties={"a": {"minLength": -1}}),
        described(properties={"a": {"pattern": "("}}),
        described(patternProperties={"(": TEXT}),
        described(properties={"a": {"$ref": "https://example.org/schema"}}),
        described(properties={"a": {"$ref": "#/$defs/none"}}),
        described(properties={"a": {"$ref": "#"}}),
        described(properties={"a": {"$ref": "#/properties/a"}}),
        described(properties={"a": {"$dynamicRef": "#x"}}),
        described(description="x" * 30_000),
        deep(60),
        billion(),
    ],
    ids=str,
)
def test_what_is_no_schema_or_too_large_is_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(QueryRefused) as refusal:
        check_schema(schema)
    assert refusal.value.details is not None
    assert "jsonSchema" in str(refusal.value.details)


def test_an_answer_of_the_form_is_taken_as_it_is() -> None:
    schema = described(
        properties={"name": {"type": "string", "pattern": "^[a-z]+$"}, "size": {"$ref": "#/$defs/size"}},
        patternProperties={"^x_": {"type": "integer"}},
        required=["name"],
        **{"$defs": {"size": {"type": "integer", "minimum": 1}}},
    )
    form = form_of(schema)
    answer = {"name": "heron", "size": 2, "x_more": 3}
    assert form.model_validate(answer).model_extra == answer
    assert form.model_json_schema() == schema
    wrongs: tuple[Any, ...] = ({}, {"name": "Heron"}, {"name": "a", "size": 0}, {"name": "a", "x_b": "c"}, [], "text")
    for wrong in wrongs:
        with pytest.raises(ValidationError):
            form.model_validate(wrong)


def test_a_pattern_that_would_never_end_does_not_match() -> None:
    form = form_of(described(properties={"a": {"type": "string", "pattern": "^(a|aa)+$"}}))
    with pytest.raises(ValidationError):
        form.model_validate({"a": "a" * 60 + "b"})


def answer_schema(**parts: Any) -> dict[str, Any]:
    return described(properties={"answer": TEXT}, **parts)


def test_the_same_schema_is_the_same_form() -> None:
    assert form_of(answer_schema()) is form_of(answer_schema())
    assert form_of(answer_schema(required=["answer"])) is not form_of(answer_schema())


async def _asked_in_a_new_form(door: Door, number: int) -> "weakref.ref[type]":
    form = form_of(answer_schema(required=["answer"], title=f"Answer {number}"))
    await door.gateway.extract(chat(), form)
    return weakref.ref(form)


@pytest.mark.slow
async def test_forms_that_nobody_asks_for_any_more_are_let_go(upstream: ProtocolServer) -> None:
    """Each holds some 40 KB, here and at the vendors' side, and callers bring as many as they like."""
    async with door(upstream) as gateway:
        forms = [await _asked_in_a_new_form(gateway, number) for number in range(300)]
        gc.collect()
        assert sum(kept() is not None for kept in forms) <= 257
