"""Templates as files: read, checked, and refused with file and line.

A folder holds a YAML file for each template, and `system_messages.yaml` with the messages that they compose. The
folder that ships comes first; a second one, of the operator, replaces templates and messages of the same name and
adds others.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError
from pydantic.alias_generators import to_snake

from app.errors import StartRefused
from app.prompts.checking import Problem, problems_of, problems_of_replacement
from app.prompts.template import Name, PartText, Template

SHIPPED = Path(__file__).parent / "templates"
MESSAGES_FILE = "system_messages.yaml"
_SUFFIXES = frozenset({".yaml", ".yml"})  # one that were passed over would be missed by nobody
_Messages: TypeAdapter[dict[str, str]] = TypeAdapter(dict[Name, PartText])
# The one in C is ten times as fast, and not built everywhere.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class TemplateSet:
    """The templates by id, and the system messages that they may compose by name."""

    templates: Mapping[str, Template]
    messages: Mapping[str, str]


@dataclass(slots=True)
class _Reading:
    """What has been read so far, where it stands, and what is wrong with it."""

    templates: dict[str, Template] = field(default_factory=dict)
    sources: dict[str, "_Source"] = field(default_factory=dict)
    messages: dict[str, str] = field(default_factory=dict)
    complaints: list[str] = field(default_factory=list)


def load_templates(extra: Path | None = None) -> TemplateSet:
    """Those that ship, and those of the extra folder. Raises StartRefused naming file and line of each fault."""
    reading = _Reading()
    for folder in (SHIPPED, extra):
        if folder is not None:
            _read_folder(folder, reading)
    for id_, template in reading.templates.items():
        source = reading.sources[id_]
        reading.complaints += [source.complaint(problem) for problem in problems_of(template, reading.messages)]
    if reading.complaints:
        raise StartRefused("prompts: " + "; ".join(reading.complaints))
    return TemplateSet(reading.templates, reading.messages)


def _read_folder(folder: Path, reading: _Reading) -> None:
    if not folder.is_dir():
        raise StartRefused(f"prompts: {folder} is no folder: mend LITEVAULT_PROMPTS_DIR, or leave it out")
    found: dict[str, Template] = {}
    for path in sorted(path for path in folder.iterdir() if path.suffix in _SUFFIXES):
        source = _Source(path)
        try:
            if path.stem == MESSAGES_FILE.removesuffix(".yaml"):
                reading.messages |= _Messages.validate_python(source.data)
            else:
                template = Template.model_validate(source.data)
                reading.complaints += _complaints_beside(template, source, found, reading.templates)
                found[template.id] = template
                reading.sources[template.id] = source
        except _FileRefused as refusal:
            reading.complaints.append(str(refusal))
        except ValidationError as error:
            reading.complaints += source.complaints(error)
    reading.templates |= found


def _complaints_beside(
    template: Template, source: "_Source", same_folder: Mapping[str, Template], earlier: Mapping[str, Template]
) -> Iterator[str]:
    """What is wrong with it beside the other templates."""
    if template.id in same_folder:
        yield source.complaint(Problem(("id",), f"{template.id} is in another file too"))
    if template.id in earlier:
        for problem in problems_of_replacement(template, earlier[template.id]):
            yield source.complaint(problem)


class _FileRefused(Exception):
    """The file cannot be read as YAML; says where."""


class _Source:
    """A file, its data, and the line of each of its fields."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines: dict[tuple[str | int, ...], int] = {(): 1}
        self._text_lines: dict[tuple[str | int, ...], int] = {}

    @property
    def data(self) -> Any:  # noqa: ANN401 - whatever the file holds
        try:
            loader = _Loader(self._path.read_text(encoding="utf-8"))
            try:
                node = loader.get_single_node()
                if node is None:
                    raise _FileRefused(f"{self._path}:1: is empty")
                self._note(node, ())
                return loader.construct_document(node)
            finally:
                loader.dispose()
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = mark.line + 1 if mark else 1
            raise _FileRefused(f"{self._path}:{line}: is no YAML: {error.problem or error.context}") from None
        except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
            raise _FileRefused(f"{self._path}:1: cannot be read: {type(error).__name__}") from None
        except RecursionError:
            raise _FileRefused(f"{self._path}:1: is too deep, or holds itself") from None
        except ValueError as error:  # such as the date 2026-99-99
            raise _FileRefused(f"{self._path}:1: holds a value that is none of its type: {error}") from None

    def _note(self, node: Any, path: tuple[str | int, ...]) -> None:  # noqa: ANN401 - yaml's nodes are untyped
        self._lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, yaml.ScalarNode):
            # The text of a block begins below its sign.
            self._text_lines[path] = node.start_mark.line + 1 + (node.style in ("|", ">"))
        elif isinstance(node, yaml.SequenceNode):
            for place, child in enumerate(node.value):
                self._note(child, (*path, place))
        elif isinstance(node, yaml.MappingNode):
            self._note_mapping(node, path)

    def _note_mapping(self, node: Any, path: tuple[str | int, ...]) -> None:  # noqa: ANN401 - see above
        for key, child in node.value:
            inner, line = (*path, str(key.value)), key.start_mark.line + 1
            if inner in self._lines:
                raise _FileRefused(f"{self._path}:{line}: {_dotted(inner)} is there twice")
            self._lines[inner] = line
            self._note(child, inner)

    def complaint(self, problem: Problem) -> str:
        if problem.line is None:
            line = self._line_of(problem.path)
        else:
            line = self._text_lines.get(problem.path, self._line_of(problem.path)) + problem.line - 1
        return f"{self._path}:{line}: {_dotted(problem.path)}: {problem.message}"

    def complaints(self, error: ValidationError) -> Iterator[str]:
        for entry in error.errors(include_input=False, include_url=False, include_context=False):
            path = tuple(to_snake(part) if isinstance(part, str) else part for part in entry["loc"])
            yield self.complaint(Problem(path, entry["msg"].removeprefix("Value error, ")))

    def _line_of(self, path: Sequence[str | int]) -> int:
        """Of the nearest field around it that is there."""
        return next(
            self._lines[place] for end in range(len(path), -1, -1) if (place := tuple(path[:end])) in self._lines
        )


def _dotted(path: Sequence[str | int]) -> str:
    return ".".join(map(str, path)) or "the file"
