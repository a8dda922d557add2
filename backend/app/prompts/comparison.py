"""What two versions of a prompt differ in: by field, and line by line as people read it. Pure."""

from collections.abc import Iterator, Mapping
from difflib import unified_diff
from typing import Any, Literal

import yaml

Kind = Literal["added", "removed", "changed"]


class _Dumper(yaml.SafeDumper):
    """Texts of several lines as blocks."""


def _block(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _block)


def as_yaml(content: Mapping[str, Any]) -> str:
    """A version's content in the form of a template's file."""
    return yaml.dump(dict(content), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


def unified(before: Mapping[str, Any], after: Mapping[str, Any], names: tuple[str, str]) -> str:
    """Line by line; empty when they are equal."""
    old, new = (as_yaml(content).splitlines() for content in (before, after))
    return "\n".join(unified_diff(old, new, *names, lineterm=""))


def changes(before: object, after: object, path: str = "") -> Iterator[tuple[str, Kind]]:
    """The fields that differ, by their paths; of lists of different lengths, the list itself."""
    if before == after:
        return
    old, new = _children(before), _children(after)
    if old is None or new is None or (isinstance(before, list) and old.keys() != new.keys()):
        yield path, "changed"
        return
    for name in sorted(old.keys() | new.keys()):
        inner = f"{path}.{name}".lstrip(".")
        if name in old and name in new:
            yield from changes(old[name], new[name], inner)
        else:
            yield inner, "removed" if name in old else "added"


def _children(value: object) -> dict[str, Any] | None:
    """By name, or by place; null for what has none."""
    if isinstance(value, list):
        return {str(place): child for place, child in enumerate(value)}
    return value if isinstance(value, dict) else None
