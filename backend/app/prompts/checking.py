"""Whether the parts of a template fit together: what no part can tell by itself.

The rules that keep a person's words from instructing the model are here: the system part holds values of closed
types alone, and whoever takes a document tells the model, by the message `data`, that it is not to be obeyed.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from app.prompts.document import DATA_MESSAGE
from app.prompts.sandbox import faults_of
from app.prompts.template import Case, DocumentRule, ModelHints, Override, Piece, PromptBody, Template
from app.prompts.variables import complete_values

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong, and where: the way to the field, and, within a text, the line from 1."""

    path: Path
    message: str
    line: int | None = None


def problems_of(template: Template, messages: Mapping[str, str]) -> list[Problem]:
    """Everything that is wrong with a template, given the system messages that there are."""
    found = [*_problems_of_parts(template, messages)]
    if template.document == "none" and not template.user:
        found.append(Problem(("user",), "is needed where no document is taken"))
    return [*found, *_problems_of_cases(template)]


def _problems_of_parts(body: PromptBody, messages: Mapping[str, str]) -> Iterator[Problem]:
    for path, part in _parts_of(body):
        if part.system is not None:
            yield from _problems_of_system(body, path, part.system, messages)
        if part.user is not None:
            every = dict.fromkeys(body.variables, True)
            yield from _problems_of_text(body, (*path, "user"), part.user, every)


def _parts_of(body: PromptBody) -> Iterator[tuple[Path, Override]]:
    yield (), Override(system=body.system, user=body.user)
    for variant, part in body.variants.items():
        yield ("variants", variant), part
    for name, environment in body.environments.items():
        yield ("environments", name), environment
        for variant, part in environment.variants.items():
            yield ("environments", name, "variants", variant), part


def _problems_of_system(
    body: PromptBody, path: Path, pieces: tuple[Piece, ...], messages: Mapping[str, str]
) -> Iterator[Problem]:
    closed = {name: variable.is_closed for name, variable in body.variables.items()}
    for place, piece in enumerate(pieces):
        if piece.text is not None:
            yield from _problems_of_text(body, (*path, "system", place, "text"), piece.text, closed)
        elif piece.message not in messages:
            reason = f"there is no system message {piece.message}"
            yield Problem((*path, "system", place, "message"), reason)
    if body.document != "none" and DATA_MESSAGE not in {piece.message for piece in pieces}:
        yield Problem((*path, "system"), f"must hold the message {DATA_MESSAGE}, since a document is taken")


def _problems_of_text(body: PromptBody, path: Path, text: str, known: Mapping[str, bool]) -> Iterator[Problem]:
    sample = {name: variable.sample for name, variable in body.variables.items()}
    for fault in faults_of(text, known, sample):
        yield Problem(path, fault.message, fault.line)


def problems_of_replacement(template: PromptBody, replaced: PromptBody) -> list[Problem]:
    """What would break the callers of the template that this one takes the place of: they give the same values."""
    found = []
    for name, variable in replaced.variables.items():
        own = template.variables.get(name)
        if own is None or own.accepts != variable.accepts:
            path: Path = ("variables",) if own is None else ("variables", name)
            found.append(Problem(path, f"{name} must be declared with the type, bounds and values that callers know"))
    for name, variable in template.variables.items():
        if name not in replaced.variables and variable.is_needed:
            found.append(Problem(("variables", name), f"{name} is given by no caller: it must not be required"))
    if template.document != replaced.document:
        found.append(Problem(("document",), f"must be {replaced.document}, as callers know it"))
    return found


def problems_of_tasks(body: PromptBody, tasks: Collection[str]) -> list[Problem]:
    """Of the hints: a task without rules would be one that nobody meant."""
    hints: list[tuple[Path, ModelHints | None]] = [((), body.model)]
    hints += [(("environments", name), part.model) for name, part in body.environments.items()]
    return [
        Problem((*path, "model", "task"), f"there is no task {hint.task}; there are {', '.join(sorted(tasks))}")
        for path, hint in hints
        if hint is not None and hint.task is not None and hint.task not in tasks
    ]


def _problems_of_cases(template: Template) -> Iterator[Problem]:
    names: set[str] = set()
    for place, case in enumerate(template.cases):
        if case.name in names:
            yield Problem(("cases", place, "name"), "is the name of another case")
        names.add(case.name)
        yield from _problems_of_case(template, case, ("cases", place))


def _problems_of_case(template: Template, case: Case, path: Path) -> Iterator[Problem]:
    _, complaints = complete_values(template.variables, case.variables)
    for name, complaint in sorted(complaints.items()):
        yield Problem((*path, "variables", name), f"{name} {complaint}")
    complaint_about = complaint_about_document(template.document, case.document)
    if complaint_about:
        yield Problem((*path, "document"), complaint_about)


def complaint_about_document(rule: DocumentRule, document: str | None) -> str | None:
    """What is wrong with giving this document, or none; null when nothing is."""
    if rule == "none" and document:
        return "is not taken by this prompt"
    if rule == "required" and not document:
        return "is needed by this prompt"
    return None
