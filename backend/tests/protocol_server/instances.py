"""A valid instance of a JSON schema: what the fake model says where a form was asked for.

Invariant: a pure function of schema and hints. `pattern` is met by an example, a default or a hint that the
schema or the caller brings, never by invention. Formats and bounds that vendors' structured outputs know are
kept; `not`, `if` and `dependentRequired` are not looked at.
"""

from collections.abc import Mapping
from typing import Any

Schema = Mapping[str, Any]

_DEEPEST = 8
_FORMATS = {
    "date": "2026-01-31",
    "time": "12:30:00Z",
    "date-time": "2026-01-31T12:30:00Z",
    "uuid": "018f2b5e-7a3c-7d21-9c4e-0a1b2c3d4e5f",
    "email": "someone@example.org",
    "uri": "https://example.org/",
    "hostname": "example.org",
    "ipv4": "192.0.2.1",
}
_KINDS = frozenset({"string", "array", "object", "boolean", "integer", "number", "null"})


def instance_of(schema: Schema | None, hints: Mapping[str, object]) -> object:
    """A schema without properties gets the hints as they are; else they fill the properties they fit."""
    if not schema:
        return dict(hints)
    maker = _Maker(schema)
    resolved = maker.resolve(schema)
    if resolved.get("type", "object") == "object" and not resolved.get("properties"):
        return dict(hints)
    return maker.make(schema, dict(hints), 0)


class _Maker:
    def __init__(self, root: Schema) -> None:
        self._root = root

    def resolve(self, anything: Any) -> Schema:
        """Without references, unions and intersections. Raises ValueError for a reference to nowhere."""
        schema: Schema = anything if isinstance(anything, Mapping) else {}
        for _ in range(_DEEPEST):
            if "$ref" in schema:
                schema = {**self._target(schema["$ref"]), **{k: v for k, v in schema.items() if k != "$ref"}}
            elif union := schema.get("anyOf") or schema.get("oneOf"):
                schema = _simplest(union)
            elif parts := schema.get("allOf"):
                schema = _joined([self.resolve(part) for part in parts], schema)
            else:
                return schema
        return schema

    def make(self, schema: Any, hint: object, depth: int) -> Any:
        schema = self.resolve(schema)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return hint if hint in schema["enum"] else schema["enum"][0]
        match _kind_of(schema):
            case "object":
                made: Any = self._object(schema, hint, depth)
            case "array":
                made = self._array(schema, hint, depth)
            case "string":
                made = _string(schema, hint)
            case "integer" | "number" as kind:
                made = _number(schema, kind)
            case kind:
                made = True if kind == "boolean" else None
        return made

    def _object(self, schema: Schema, hint: object, depth: int) -> dict[str, Any]:
        hints = hint if isinstance(hint, dict) else {}
        required = set(schema.get("required", ()))
        return {
            name: self.make(part, hints.get(name), depth + 1)
            for name, part in schema.get("properties", {}).items()
            if name in required or depth < _DEEPEST
        }

    def _array(self, schema: Schema, hint: object, depth: int) -> list[Any]:
        fixed = [self.make(part, None, depth + 1) for part in schema.get("prefixItems", ())]
        items = schema.get("items", {})
        if isinstance(hint, list) and not fixed and self._fits_all(hint, schema):
            return hint
        least = schema.get("minItems", 0)
        wanted = least if depth >= _DEEPEST else max(least, min(1, schema.get("maxItems", 1)))
        more = [self.make(items, f"part {number + 1}", depth + 1) for number in range(wanted - len(fixed))]
        return fixed + more

    def _fits_all(self, hint: list[object], schema: Schema) -> bool:
        items = self.resolve(schema.get("items", {}))
        is_counted = schema.get("minItems", 0) <= len(hint) <= schema.get("maxItems", len(hint))
        return is_counted and all(self.make(items, part, _DEEPEST) == part for part in hint)

    def _target(self, reference: str) -> Schema:
        found: Any = self._root
        for name in reference.removeprefix("#").strip("/").split("/"):
            found = found.get(name) if isinstance(found, Mapping) and name else found
        if isinstance(found, Mapping):
            return found
        raise ValueError(f"the schema refers to nowhere: {reference!r}")


def _simplest(union: list[Schema]) -> Schema:
    """The first that is not null: an optional field is filled."""
    return next((part for part in union if part.get("type") != "null"), union[0])


def _joined(parts: list[Schema], outer: Schema) -> Schema:
    whole = {key: value for key, value in outer.items() if key != "allOf"}
    properties = {name: part for schema in [*parts, whole] for name, part in schema.get("properties", {}).items()}
    required = [name for schema in [*parts, whole] for name in schema.get("required", ())]
    merged: dict[str, Any] = {}
    for part in parts:
        merged.update(part)
    merged.update(whole)
    return {**merged, **({"properties": properties, "required": required} if properties else {})}


def _kind_of(schema: Schema) -> str:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((name for name in kind if name != "null"), "null")
    if kind in _KINDS:
        return str(kind)
    return "object" if "properties" in schema else "array" if "items" in schema else "string"


def _string(schema: Schema, hint: object) -> str:
    least: int = schema.get("minLength", 0)
    most: int = schema.get("maxLength", 10_000_000)
    if known := _FORMATS.get(schema.get("format", "")):
        return known
    offered = [*schema.get("examples", ()), schema.get("default"), hint]
    for text in offered:
        if isinstance(text, str) and least <= len(text) <= most:
            return text
    return ("some words " * (least // 11 + 1))[: max(least, min(most, 10))]


def _number(schema: Schema, kind: str) -> float:
    step: float | None = schema.get("multipleOf", 1 if kind == "integer" else None)
    low, high = _bound(schema, "Minimum", step or 0), _bound(schema, "Maximum", -(step or 0))
    if step is not None:
        # The first multiple from the lower bound on, or the last one below the upper bound.
        value = -(-low // step) * step if low is not None else step if high is None else high // step * step
        return int(value) if kind == "integer" else value
    if low is not None and high is not None:
        return low + (high - low) / 2
    if low is not None:
        return low + 1
    return 0.5 if high is None else high - 1


def _bound(schema: Schema, side: str, step: float) -> float | None:
    """The bound on this side, an excluded one moved by a step; None where there is none."""
    excluded: float | None = schema.get(f"exclusive{side}")
    included: float | None = schema.get(side.lower())
    return excluded + step if excluded is not None else included
