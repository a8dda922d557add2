"""The routing file: read once, checked as a whole, its mistakes named with their place."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app.errors import StartRefused
from app.llm.call import Complexity

SHIPPED = Path(__file__).with_name("routing.yaml")
_Seconds = Annotated[float, Field(gt=0, le=3600)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Compression(StrEnum):
    """What may be taken out of a document."""

    BLANKS = "blanks"
    REPEATS = "repeats"
    COMMENTS = "comments"


class ModelRule(_Part):
    """A model of a task. `complexity`: the hardest kind of work that it is meant for."""

    model: Annotated[str, Field(min_length=3, max_length=200, pattern=r"^[^/\s]+/\S+$")]
    complexity: Complexity = Complexity.HARD


class TaskRules(_Part):
    """As `routing.yaml` explains them."""

    models: tuple[ModelRule, ...] = ()
    order: Literal["listed", "price"] = "listed"
    try_seconds: _Seconds | None = None
    first_token_seconds: _Seconds = 20
    stall_seconds: _Seconds = 20
    cache_seconds: Annotated[float, Field(ge=0, le=31_536_000)] = 0
    reasks: Annotated[int, Field(ge=0, le=10)] | None = None
    compress: tuple[Compression, ...] = ()


class RoutingRules(_Part):
    tasks: dict[str, TaskRules]

    def of(self, task: str) -> TaskRules | None:
        return self.tasks.get(task)


def load_rules(path: Path | None = None) -> RoutingRules:
    """The rules of this file, or those that ship. Raises StartRefused with the file, the place and what is wrong."""
    source = path or SHIPPED
    try:
        written = yaml.safe_load(source.read_text("utf-8"))
    except (OSError, UnicodeDecodeError):
        raise StartRefused(f"LITEVAULT_LLM_ROUTING_FILE: {source} cannot be read") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise StartRefused(f"{source}{line}: is no YAML: {getattr(error, 'problem', None) or 'damaged'}") from None
    try:
        return RoutingRules.model_validate(_with_defaults(written))
    except ValidationError as error:
        entry = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part) for part in entry["loc"])
        raise StartRefused(f"{source}: {place or 'the file'}: {entry['msg']}") from None


def _with_defaults(written: Any) -> Any:  # noqa: ANN401 - whatever stands in the file; the check comes after
    """What a task does not say, `defaults` says; of a task that is left out, everything."""
    if not isinstance(written, dict) or not isinstance(written.get("tasks"), dict):
        return written
    defaults, rest = written.get("defaults") or {}, {name: part for name, part in written.items() if name != "defaults"}
    if not isinstance(defaults, dict):
        return written
    rest["tasks"] = {
        name: {**defaults, **(task or {})} if isinstance(task, dict | None) else task
        for name, task in {**dict.fromkeys(_tasks_that_ship()), **written["tasks"]}.items()
    }
    return rest


def _tasks_that_ship() -> list[str]:
    """The callers are here whatever stands in a file."""
    return list(yaml.safe_load(SHIPPED.read_text("utf-8"))["tasks"])
