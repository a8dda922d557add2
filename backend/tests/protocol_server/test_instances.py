"""What is made for a schema is valid by it, always the same, and takes the hints that fit."""

from enum import Enum
from typing import Annotated, Any, Literal

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from tests.protocol_server.instances import instance_of

HINTS = {"title": "About milk", "tags": ["milk", "bread", "shop"], "source_type": "NOTE"}


class Kind(Enum):
    ACTIVITY = "activity"
    MOMENT = "moment"


class Quote(BaseModel):
    text: Annotated[str, Field(min_length=30)]
    start: Annotated[int, Field(ge=10)]
    share: Annotated[float, Field(gt=0, le=1)]


class Node(BaseModel):
    name: str
    children: list["Node"] = []


class Extraction(BaseModel):
    title: Annotated[str, Field(max_length=40)]
    kind: Kind
    level: Literal[3]
    quotes: Annotated[list[Quote], Field(min_length=2)]
    place: str | None
    tree: Node
    is_sure: bool
    tags: list[str]


def test_a_pydantic_model_reads_what_is_made_for_its_schema() -> None:
    made = instance_of(Extraction.model_json_schema(), HINTS)
    extraction = Extraction.model_validate(made)
    assert (extraction.title, extraction.tags) == ("About milk", ["milk", "bread", "shop"])
    assert len(extraction.quotes) == 2
    assert made == instance_of(Extraction.model_json_schema(), HINTS)


def _objects(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    properties = st.dictionaries(st.sampled_from(["title", "tags", "a", "b"]), inner, min_size=1, max_size=3)
    return properties.map(lambda parts: {"type": "object", "properties": parts, "required": list(parts)})


_LEAVES = st.one_of(
    st.builds(
        lambda least, more: {"type": "string", "minLength": least, "maxLength": least + more},
        st.integers(0, 40),
        st.integers(0, 40),
    ),
    st.builds(
        lambda low, more: {"type": "integer", "minimum": low, "maximum": low + more}, st.integers(), st.integers(0)
    ),
    st.builds(lambda high: {"type": "number", "maximum": high}, st.integers()),
    st.sampled_from([{"type": "boolean"}, {"type": ["string", "null"]}, {"enum": ["x", 7]}, {"const": None}, {}]),
)
SCHEMAS = _objects(
    st.recursive(
        _LEAVES,
        lambda inner: st.one_of(
            _objects(inner),
            st.builds(
                lambda items, least: {"type": "array", "items": items, "minItems": least, "maxItems": least + 1},
                inner,
                st.integers(0, 3),
            ),
            inner.map(lambda part: {"anyOf": [{"type": "null"}, part]}),
        ),
        max_leaves=6,
    )
)


@pytest.mark.parametrize(
    "part",
    [
        {"type": "number", "exclusiveMinimum": 0, "maximum": 0.3},
        {"type": "number", "multipleOf": 0.25, "minimum": 0.3},
        {"type": "integer", "exclusiveMaximum": 7},
        {"type": "integer", "multipleOf": 5, "minimum": 11},
    ],
)
def test_a_number_keeps_its_bounds(part: dict[str, Any]) -> None:
    jsonschema.validate(instance_of({"properties": {"a": part}}, {}), {"properties": {"a": part}})


@given(SCHEMAS)
def test_what_is_made_is_valid(schema: dict[str, Any]) -> None:
    jsonschema.validate(instance_of(schema, HINTS), schema)


@pytest.mark.parametrize("schema", [None, {}, {"type": "object"}])
def test_a_schema_that_asks_for_nothing_gets_the_hints(schema: dict[str, Any] | None) -> None:
    assert instance_of(schema, HINTS) == HINTS


@pytest.mark.parametrize(
    "part",
    [
        {"allOf": [{"type": "object", "properties": {"a": {"const": 1}}, "required": ["a"]}, {"required": ["a"]}]},
        {"oneOf": [{"type": "null"}, {"type": "string", "format": "date"}]},
        {"type": "array", "prefixItems": [{"type": "string"}, {"type": "boolean"}], "minItems": 2},
        {"items": {"enum": ["x"]}, "minItems": 3},
        {"type": ["null"]},
    ],
)
def test_unions_intersections_and_tuples_are_met(part: dict[str, Any]) -> None:
    schema = {"properties": {"a": part}, "required": ["a"]}
    jsonschema.validate(instance_of(schema, {}), schema)


def test_a_list_for_an_answer_is_made_too() -> None:
    assert instance_of({"type": "array", "items": {"type": "integer"}}, {}) == [1]


def test_a_pattern_is_met_by_the_schemas_own_example() -> None:
    part = {"type": "string", "pattern": "^[A-Z]{3}$", "examples": ["EUR"]}
    assert instance_of({"properties": {"currency": part}}, {}) == {"currency": "EUR"}


def test_a_reference_to_nowhere_says_so() -> None:
    with pytest.raises(ValueError, match="#/nowhere"):
        instance_of({"properties": {"a": {"$ref": "#/nowhere"}}}, {})
