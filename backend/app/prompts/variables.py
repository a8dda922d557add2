"""Variables of a template: their types and bounds, and the check of the values that a caller gives.

A value is checked before it is rendered, and a complaint names the variable and the rule, never the value. Only
values of closed types, which no person's words can be, may stand in the part that instructs the model.
"""

from collections.abc import Mapping
from math import isfinite
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, Strict, StrictBool, StringConstraints, model_validator

from app.web import StorableJson, Text, WireModel

_LARGEST_NUMBER = 10**15
_STRING_CHARS, _STRING_MAX_CHARS = 2000, 20_000  # unless it says otherwise; at most
_LIST_ENTRIES, _LIST_MAX_ENTRIES = 50, 1000
_ENTRY_MAX_CHARS = 200


_Choice = Annotated[Text, StringConstraints(min_length=1, max_length=100)]
VariableType = Literal["string", "integer", "number", "boolean", "list", "enum"]


class Variable(WireModel):
    """What a caller gives by this name.

    `minimum` and `maximum` bound a number's value, a string's characters or a list's entries. `values` are the
    choices of an enum, or of each entry of a list. Needed unless it has a default or is not `required`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: VariableType
    description: Annotated[Text, StringConstraints(max_length=500)] = ""
    required: StrictBool | None = None
    default: StorableJson = None
    minimum: Annotated[float, Strict(), Field(ge=-_LARGEST_NUMBER, le=_LARGEST_NUMBER)] | None = None
    maximum: Annotated[float, Strict(), Field(ge=-_LARGEST_NUMBER, le=_LARGEST_NUMBER)] | None = None
    values: Annotated[tuple[_Choice, ...], Field(max_length=100)] = ()

    @property
    def is_needed(self) -> bool:
        return self.default is None if self.required is None else self.required

    @property
    def accepts(self) -> tuple[object, ...]:
        """Equal for two variables that take the same values."""
        return self.type, self.is_needed, self.minimum, self.maximum, self.values

    @property
    def is_closed(self) -> bool:
        """Whether the template itself says which values there are, numbers aside."""
        return bool(self.values) or self.type in ("integer", "number", "boolean")

    @model_validator(mode="after")
    def _fits_together(self) -> "Variable":
        if self.type == "enum" and not self.values:
            raise ValueError("an enum needs values")
        if self.values and self.type not in ("enum", "list"):
            raise ValueError("values belong to an enum or a list")
        if self.type in ("enum", "boolean") and (self.minimum, self.maximum) != (None, None):
            raise ValueError("an enum or a boolean has no minimum or maximum")
        return self

    @model_validator(mode="after")
    def _has_sound_bounds(self) -> "Variable":
        low, high = self._bounds()
        if low > high:
            raise ValueError("minimum must not be above maximum")
        if high > _LARGEST.get(self.type, high):
            raise ValueError(f"maximum must not be above {_LARGEST[self.type]}")
        return self

    @model_validator(mode="after")
    def _has_a_sound_default(self) -> "Variable":
        if self.default is not None:
            if self.required:
                raise ValueError("what is required has no default")
            complaint = self.complaint_about(self.default)
            if complaint:
                raise ValueError(f"the default {complaint}")
        return self

    @property
    def sample(self) -> Any:  # noqa: ANN401 - of the variable's type
        """A value that may be given."""
        if self.default is not None:
            return self.default
        low, high = self._bounds()
        if self.type in ("integer", "number"):
            return int(low) if low > 0 else int(min(high, 0))
        size = max(1, int(low))
        words = [self.values[at % len(self.values)] if self.values else "x" for at in range(size)]
        return {"string": "x" * size, "list": words, "boolean": True, "enum": words[0]}[self.type]

    def complaint_about(self, value: object) -> str | None:
        """What is wrong with a value, as the end of a sentence; null when nothing is."""
        if not _is_of(self.type, value):
            return f"must be {_KIND_NAMES[self.type]}"
        if isinstance(value, list):
            return self._complaint_about_entries(value) or self._complaint_about_size(len(value), " entries")
        if self.type == "enum":
            return None if value in self.values else self._choices()
        if isinstance(value, str):
            return _complaint_about_text(value) or self._complaint_about_size(len(value), " characters")
        if isinstance(value, bool):
            return None
        return self._complaint_about_size(value, "")

    def _complaint_about_entries(self, entries: list[Any]) -> str | None:
        for entry in entries:
            if not isinstance(entry, str):
                return "must hold strings only"
            if self.values and entry not in self.values:
                return self._choices()
            if len(entry) > _ENTRY_MAX_CHARS:
                return f"must hold entries of at most {_ENTRY_MAX_CHARS} characters"
            complaint = _complaint_about_text(entry)
            if complaint:
                return complaint
        return None

    def _complaint_about_size(self, size: Any, unit: str) -> str | None:  # noqa: ANN401 - a number of either kind
        low, high = self._bounds()
        if low <= size <= high:
            return None
        return f"must be {low:g} to {high:g}{unit}"

    def _choices(self) -> str:
        return f"must be {'one' if self.type == 'enum' else 'some'} of {', '.join(self.values)}"

    def _bounds(self) -> tuple[float, float]:
        low, high = _DEFAULT_BOUNDS.get(self.type, (-_LARGEST_NUMBER, _LARGEST_NUMBER))
        return (low if self.minimum is None else self.minimum, high if self.maximum is None else self.maximum)


_DEFAULT_BOUNDS: Mapping[str, tuple[float, float]] = {
    "string": (0, _STRING_CHARS),
    "list": (0, _LIST_ENTRIES),
}
_LARGEST = {"string": _STRING_MAX_CHARS, "list": _LIST_MAX_ENTRIES}
_KIND_NAMES = {
    "string": "a string",
    "enum": "a string",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "list": "a list",
}


def _is_of(kind: VariableType, value: object) -> bool:
    if isinstance(value, bool):  # which Python takes for a number
        return kind == "boolean"
    if kind == "number":
        return isinstance(value, int) or (isinstance(value, float) and isfinite(value))
    expected = {"string": str, "enum": str, "integer": int, "list": list, "boolean": bool}[kind]
    return isinstance(value, expected)


def _complaint_about_text(value: str) -> str | None:
    return "must not contain NUL characters" if "\x00" in value else None


def complete_values(
    declared: Mapping[str, Variable], given: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, str]]:
    """A value for every variable, null where it was left out; and the complaints by the variables' names."""
    complaints = dict.fromkeys(given.keys() - declared.keys(), "is no variable of this prompt")
    values: dict[str, Any] = {}
    for name, variable in declared.items():
        value = given.get(name)
        if value is None:
            value = variable.default
            if value is None and variable.is_needed:
                complaints[name] = "is missing"
        else:
            complaint = variable.complaint_about(value)
            if complaint:
                complaints[name] = complaint
        values[name] = value
    return values, complaints
