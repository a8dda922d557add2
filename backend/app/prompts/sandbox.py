"""The language of templates: a small part of Jinja, and the sandbox that runs it.

Two walls: a text is refused when it is loaded if it holds more than names, literals, conditions, a loop and a few
filters (no call, no attribute but of `loop`, no arithmetic: nothing to escape by); and what passes runs in Jinja's
immutable sandbox, where an undefined name is an error and the output is bounded. Only templates are ever compiled:
values and a person's text go in as data.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError, meta, nodes
from jinja2 import Template as Compiled
from jinja2.sandbox import ImmutableSandboxedEnvironment

from app.errors import PromptRefused

RENDERED_MAX_CHARS = 200_000
_FILTERS = frozenset({"join", "length", "lower", "upper", "title", "capitalize", "trim", "first", "last"})
_LOOP_FACTS = frozenset({"first", "last", "index", "index0", "length"})
_ALLOWED = (
    *(nodes.Template, nodes.Output, nodes.TemplateData, nodes.If, nodes.For),
    *(nodes.Name, nodes.Const, nodes.CondExpr, nodes.Compare, nodes.Operand),
    *(nodes.And, nodes.Or, nodes.Not, nodes.Concat),
)
# What Jinja and Python raise at a text that is too deep, or holds a number that is too long.
_UNREADABLE = (TemplateSyntaxError, SyntaxError, RecursionError, MemoryError, ValueError, OverflowError)


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong in a template text, and in which of its lines, from 1."""

    line: int
    message: str


@lru_cache(maxsize=1)
def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined,
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    environment.globals.clear()
    return environment


def _shown(value: object) -> object:
    """A variable that was left out shows as nothing."""
    return "" if value is None else value


def faults_of(text: str, known: Mapping[str, bool], sample: Mapping[str, Any]) -> list[Fault]:
    """What is wrong with a template text.

    `known` has the names that may stand in it, true, and those that exist but may not stand in this part, false. The
    sample holds a value for each; a text without other faults is rendered with it once.
    """
    try:
        tree = _environment().parse(text)
        faults = [*_forbidden(tree, loops=0)]
        faults += [] if faults else _unknown(tree, known)
        if not faults:
            _compiled(text)
    except _UNREADABLE as error:
        reason = error.message if isinstance(error, TemplateSyntaxError) else "it is too deep, or a number too long"
        return [Fault(getattr(error, "lineno", None) or 1, f"is no template that can be read: {reason}")]
    return faults or _faults_of_trial(text, sample)


def _faults_of_trial(text: str, sample: Mapping[str, Any]) -> list[Fault]:
    try:
        render(text, sample)
    except PromptRefused:
        return [Fault(1, "cannot be rendered with values of these types")]
    return []


def _unknown(tree: nodes.Template, known: Mapping[str, bool]) -> list[Fault]:
    names = sorted(name for name in meta.find_undeclared_variables(tree) if not known.get(name))
    words = {True: "may stand in the user part only: it can hold a person's words", False: "is no variable"}
    return [Fault(_line_of(tree, name), f"{name} {words[name in known]}") for name in names]


def _line_of(tree: nodes.Template, name: str) -> int:
    return next(found.lineno for found in tree.find_all(nodes.Name) if found.name == name)


def _forbidden(node: nodes.Node, loops: int) -> Iterator[Fault]:
    for child in node.iter_child_nodes():
        deeper = loops + isinstance(child, nodes.For)
        reason = _reason_against(child, deeper)
        if reason:
            yield Fault(child.lineno, reason)
        else:
            yield from _forbidden(child, deeper)


def _reason_against(node: nodes.Node, loops: int) -> str | None:
    if isinstance(node, nodes.Filter):
        return _reason_against_filter(node)
    if isinstance(node, nodes.Name) and node.name == "self":  # Jinja's own, so never undeclared
        return "self is no variable"
    if isinstance(node, nodes.Getattr):
        is_loop = isinstance(node.node, nodes.Name) and node.node.name == "loop"
        return None if is_loop and node.attr in _LOOP_FACTS else "attributes are not available, but those of loop"
    if isinstance(node, nodes.For) and (loops > 1 or node.recursive):
        return "a loop in a loop is not available"  # a text of two would make thousands of millions of turns
    return None if isinstance(node, _ALLOWED) else f"{type(node).__name__} is not available in templates"


def _reason_against_filter(node: nodes.Filter) -> str | None:
    if node.name not in _FILTERS:
        return f"the filter {node.name} is not available"
    is_plain = not node.kwargs and all(isinstance(argument, nodes.Const) for argument in node.args)
    return None if is_plain else "a filter takes plain values only"


@lru_cache(maxsize=1024)
def _compiled(text: str) -> Compiled:
    return _environment().from_string(text)


def render(text: str, values: Mapping[str, Any]) -> str:
    """The text with the values in their places. Raises PromptRefused where they do not fit into it."""
    parts, length = [], 0
    try:
        for part in _compiled(text).generate(values):
            parts.append(part)
            length += len(part)
            if length > RENDERED_MAX_CHARS:
                raise PromptRefused(f"The prompt is longer than {RENDERED_MAX_CHARS} characters.")
    except (TemplateError, TypeError, ValueError) as error:
        raise PromptRefused("The prompt cannot be rendered with these values.") from error
    return "".join(parts).strip()
