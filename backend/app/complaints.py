"""From what pydantic says of a request to what its sender is told: the field as the sender wrote it, and the rule.

Invariant: never the value; pydantic's messages for the rules in use hold none.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic.alias_generators import to_camel


def complaints_of(entries: Sequence[Mapping[str, Any]], body: object) -> list[dict[str, str]]:
    """`body` is the request's, as it was read.

    Where one of several forms would have done, only the complaint about a place inside is told: that one was meant.
    """
    complaints = [_complaint(entry, body) for entry in entries]
    around = {place for told in complaints for place in _places_around(told["field"])}
    return [told for told in complaints if told["field"] not in around]


def _places_around(field: str) -> Iterator[str]:
    while "." in field:
        field = field.rpartition(".")[0]
        yield field


def _complaint(entry: Mapping[str, Any], body: object) -> dict[str, str]:
    if entry["type"] == "json_invalid":
        return {"field": "body", "rule": "json_invalid", "message": "The body is not valid JSON."}
    field = _field(entry, body)
    if entry["type"] in ("too_short", "too_long") and isinstance(entry["input"], str):
        return {"field": field, "rule": f"string_{entry['type']}", "message": _length_sentence(entry)}
    return {
        "field": field,
        "rule": entry["type"],
        "message": entry["msg"].removeprefix("Value error, "),
    }


def _field(entry: Mapping[str, Any], body: object) -> str:
    """As the request spells it; only the parts of a path are declared in our own spelling."""
    kind, *parts = entry["loc"]
    if kind == "body":
        parts = _places_in(body, parts, is_missing=entry["type"] == "missing")
    spelt = [to_camel(str(part)) if kind == "path" else str(part) for part in parts]
    return ".".join(spelt).encode(errors="replace").decode() or "body"


def _places_in(body: object, where: Sequence[str | int], *, is_missing: bool) -> list[str | int]:
    """Without the names of our own types, which pydantic puts between where one of several was tried."""
    places: list[str | int] = []
    for nth, part in enumerate(where, start=1):
        is_there, inner = _inside(body, part)
        if is_there:
            body = inner
        if is_there or part == "[key]" or (is_missing and nth == len(where)):
            places.append(part)
    return places


def _inside(body: object, part: str | int) -> tuple[bool, object]:
    """Whether the body has this place, and what is there."""
    if isinstance(body, list) and isinstance(part, int):
        return (True, body[part]) if part < len(body) else (False, None)
    if isinstance(body, dict):
        return part in body, body.get(part)
    return False, None


def _length_sentence(entry: Mapping[str, Any]) -> str:
    """Behind our own check of a text pydantic takes it for a list, and counts items."""
    most = entry["type"] == "too_long"
    bound = entry["ctx"]["max_length" if most else "min_length"]
    return f"must have at {'most' if most else 'least'} {bound} character{'' if bound == 1 else 's'}"
