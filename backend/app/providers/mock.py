"""The mock: a provider for developers that answers from fixtures, without HTTP and always the same.

A fixture is an entry of a YAML list: what it is for (`task`, `model`, `contains`, each left out fits all) and what then
happens (`answer`, a text or the object that a form wants, or `fails`, a code of docs/errors.md). The first that fits
wins, so an entry that names nothing belongs at the end.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

import orjson
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from app import clock
from app.errors import LLMModelNotFound, StartRefused, llm_errors

_CHARACTERS_A_TOKEN = 4


@dataclass(frozen=True, slots=True)
class MockAnswer:
    """`text` is JSON where the fixture's answer is an object."""

    text: str
    input_tokens: int
    output_tokens: int


class _Fixture(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    task: str | None = None
    model: str | None = None
    contains: str | None = None
    answer: str | None = None
    fails: str | None = None
    delay_seconds: Annotated[float, Field(ge=0, le=3600)] = 0
    input_tokens: Annotated[int | None, Field(ge=0)] = None
    output_tokens: Annotated[int | None, Field(ge=0)] = None

    @field_validator("answer", mode="before")
    @classmethod
    def _as_text(cls, answer: object) -> object:
        if not isinstance(answer, dict | list):
            return answer
        try:
            return orjson.dumps(answer).decode()
        except orjson.JSONEncodeError as error:
            raise ValueError(f"cannot be written as JSON: {error}") from None

    @field_validator("fails")
    @classmethod
    def _known_code(cls, code: str | None) -> str | None:
        if code is not None and code not in llm_errors():
            raise ValueError(f"must be one of {', '.join(sorted(llm_errors()))}")
        return code

    @model_validator(mode="after")
    def _either(self) -> Self:
        if (self.answer is None) == (self.fails is None):
            raise ValueError("needs either answer or fails")
        return self

    def fits(self, task: str, model: str, text: str) -> bool:
        is_meant = self.task in (None, task) and self.model in (None, model)
        return is_meant and (self.contains is None or self.contains.casefold() in text.casefold())


@dataclass(frozen=True, slots=True)
class MockFixtures:
    """In the order in which they are tried."""

    entries: tuple[_Fixture, ...]

    @classmethod
    def load(cls, path: Path) -> Self:
        """From a file, or all `.yaml` files of a folder by name. Raises StartRefused naming file and entry."""
        files = sorted(path.glob("*.yaml")) if path.is_dir() else [path]
        entries = tuple(entry for file in files for entry in _entries_of(file))
        if not entries:
            raise StartRefused(f"LITEVAULT_LLM_MOCK_FIXTURES: there is no fixture in {path}")
        return cls(entries)

    async def answer(self, *, task: str, model: str, text: str) -> MockAnswer:
        """What the fixtures say to `text`, all that was sent. Raises its LLMError, or that of no such model."""
        found = next((entry for entry in self.entries if entry.fits(task, model, text)), None)
        if found is None:
            raise LLMModelNotFound
        if found.delay_seconds:
            await clock.sleep(found.delay_seconds)
        if found.answer is None:
            raise llm_errors()[found.fails or ""]
        return MockAnswer(
            found.answer,
            input_tokens=_tokens(text) if found.input_tokens is None else found.input_tokens,
            output_tokens=_tokens(found.answer) if found.output_tokens is None else found.output_tokens,
        )


def _tokens(text: str) -> int:
    """A round figure: the mock has no tokenizer, and its tokens cost nothing."""
    return -(-len(text) // _CHARACTERS_A_TOKEN)


def _entries_of(file: Path) -> Iterator[_Fixture]:
    content = _content_of(file)
    if not isinstance(content, list):
        raise _refusal(file, "must hold a list of fixtures")
    for place, entry in enumerate(content, start=1):
        try:
            yield _Fixture.model_validate(entry)
        except ValidationError as error:
            [first, *_] = error.errors(include_input=False, include_url=False)
            field = ".".join(str(part) for part in first["loc"])
            sentence = first["msg"].removeprefix("Value error, ")
            raise _refusal(
                file, f"entry {place}, {field}: {sentence}" if field else f"entry {place} {sentence}"
            ) from None


def _content_of(file: Path) -> Any:  # noqa: ANN401 - YAML
    try:
        return yaml.safe_load(file.read_text())
    except OSError as error:
        raise _refusal(file, f"cannot be read ({error.strerror})") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise _refusal(file, f"line {line} is no YAML: {error.problem}") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise _refusal(file, "is no YAML in UTF-8") from None
    except (ValueError, RecursionError) as error:  # such as the date 2026-99-99
        raise _refusal(file, f"holds a value that is none of its type: {error}") from None


def _refusal(file: Path, what: str) -> StartRefused:
    return StartRefused(f"LITEVAULT_LLM_MOCK_FIXTURES: {file}: {what}")
