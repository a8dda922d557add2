"""A caller's JSON schema as the form of an answer: checked before it is used, and bounded in what it can cost.

Whoever writes a schema is not trusted with our CPU or our network: references stay inside the schema and form no
circle, so that its expansion is finite and small, and a pattern has a moment to match.
"""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import orjson
import regex
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError
from jsonschema.validators import extend
from pydantic import BaseModel, ConfigDict, model_validator
from referencing import Registry

from app.errors import QueryRefused

_MOST_BYTES = 20_000
_MOST_NODES = 5_000  # with every reference written out
_DEEPEST = 50
_PATTERN_SECONDS = 0.1
_KEPT_FORMS = 64
_FIELD = "jsonSchema"
# They change what a reference means.
_NOT_TAKEN = frozenset({"$id", "$anchor", "$dynamicRef", "$dynamicAnchor", "$recursiveRef", "$vocabulary"})


class Structured(BaseModel):
    """An answer of a schema's form; what it holds is in `model_extra`."""

    model_config = ConfigDict(extra="allow")


def form_of(schema: Mapping[str, Any]) -> type[Structured]:
    """The form in which the gateway asks for an answer, and by which it checks it. Raises QueryRefused.

    The same one for the same schema: what is made of a form, here and at the vendors' side, is kept by its class.
    """
    return _form_of(orjson.dumps(schema))


@lru_cache(maxsize=_KEPT_FORMS)
def _form_of(written: bytes) -> type[Structured]:
    schema: dict[str, Any] = orjson.loads(written)
    check_schema(schema)
    validator = _Validator(schema, registry=Registry())

    class Answer(Structured):
        """The answer, in the form that was asked for."""

        @classmethod
        def model_json_schema(cls, *_: Any, **__: Any) -> dict[str, Any]:  # noqa: ANN401 - pydantic's
            copy: dict[str, Any] = orjson.loads(written)
            return copy

        @model_validator(mode="before")
        @classmethod
        def _has_the_form(cls, value: Any) -> Any:  # noqa: ANN401 - whatever the model wrote
            complaint = next(validator.iter_errors(value), None)
            if complaint is not None:
                # It goes to the model that is asked again, and nowhere else.
                raise ValueError(f"{complaint.json_path}: {complaint.message[:500]}")
            return value

    return Answer


def check_schema(schema: Mapping[str, Any]) -> None:
    """Raises QueryRefused."""
    try:
        size = len(orjson.dumps(schema))
    except (TypeError, orjson.JSONEncodeError):
        raise _refused("is nested too deep or holds a number that JSON has not") from None
    if size > _MOST_BYTES:
        raise _refused(f"must be at most {_MOST_BYTES} bytes")
    if schema.get("type") != "object":
        raise _refused('must describe an object: "type": "object"')
    _Expansion(schema).check()
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        raise _refused(f"is no JSON schema: see {error.json_path}") from None


class _Expansion:
    """The schema with its references written out: how large, whether it ends."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._schema = schema
        self._sizes: dict[str, int | None] = {}

    def check(self) -> None:
        if self._size(self._schema, 0) > _MOST_NODES:
            raise _refused("is too large with its references written out")

    def _size(self, node: Any, depth: int) -> int:  # noqa: ANN401 - any JSON
        if depth > _DEEPEST:
            raise _refused(f"must be nested at most {_DEEPEST} deep")
        if isinstance(node, list):
            return 1 + sum(self._size(entry, depth + 1) for entry in node)
        if not isinstance(node, dict):
            return 1
        _check_patterns(node)
        if _NOT_TAKEN & node.keys():
            raise _refused(f"must not hold {', '.join(sorted(_NOT_TAKEN & node.keys()))}")
        total = 1 + sum(self._size(entry, depth + 1) for name, entry in node.items() if name != "$defs" or depth)
        return total + self._size_of_reference(node.get("$ref"), depth)

    def _size_of_reference(self, reference: Any, depth: int) -> int:  # noqa: ANN401 - any JSON
        if not isinstance(reference, str):
            return 0
        if reference not in self._sizes:
            self._sizes[reference] = None  # being written out
            self._sizes[reference] = self._size(_target(self._schema, reference), depth + 1)
        size = self._sizes[reference]
        if size is None:
            raise _refused("must not refer to itself")
        return min(size, _MOST_NODES + 1)


def _check_patterns(node: Mapping[str, Any]) -> None:
    named = node.get("patternProperties")
    for pattern in (node.get("pattern"), *(named if isinstance(named, dict) else ())):
        if isinstance(pattern, str):  # else a property of this name, or for the metaschema to refuse
            try:
                regex.compile(pattern)
            except regex.error:
                raise _refused("holds a pattern that is no regular expression") from None


def _target(schema: Mapping[str, Any], reference: str) -> Any:  # noqa: ANN401 - any JSON
    if not reference.startswith("#/"):
        raise _refused("must refer only to its own parts, as #/$defs/name")
    found: Any = schema
    for part in reference[2:].split("/"):
        name = part.replace("~1", "/").replace("~0", "~")
        if not isinstance(found, dict) or name not in found:
            raise _refused("refers to a part that it does not have")
        found = found[name]
    return found


def _refused(complaint: str) -> QueryRefused:
    return QueryRefused(_FIELD, "json_schema", f"it {complaint}.")


def _pattern(_validator: Any, pattern: str, instance: Any, _schema: Any) -> Iterator[ValidationError]:  # noqa: ANN401
    if isinstance(instance, str) and not _matches(pattern, instance):
        yield ValidationError("does not match the pattern")


def _pattern_properties(
    validator: Any,  # noqa: ANN401 - jsonschema's
    patterns: Mapping[str, Any],
    instance: Any,  # noqa: ANN401 - any JSON
    _schema: Any,  # noqa: ANN401 - any JSON
) -> Iterator[ValidationError]:
    if isinstance(instance, dict):
        for pattern, schema in patterns.items():
            for name, value in instance.items():
                if _matches(pattern, name):
                    yield from validator.descend(value, schema, path=name, schema_path=pattern)


def _matches(pattern: str, text: str) -> bool:
    try:
        return regex.search(pattern, text, timeout=_PATTERN_SECONDS) is not None
    except TimeoutError:
        return False


_Validator: type[Draft202012Validator] = extend(  # type: ignore[no-untyped-call]  # not typed in its stubs
    Draft202012Validator, {"pattern": _pattern, "patternProperties": _pattern_properties}
)
