"""From a call to what one model is sent: checked, rendered for its kind of provider, cut to fit its window. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from app.context.estimate import estimate
from app.context.fitting import fit
from app.context.tokens import tokenizer_of
from app.context.windows import UNKNOWN_WINDOW, DoesNotFit, Window, room_for_document
from app.errors import LLMBadRequest, LLMContextTooLong
from app.llm.call import Call, Complexity, Parameters
from app.llm.extraction import Message, said_in
from app.llm.routing import TASK_PREFIX, Candidate, Wish
from app.prompts.prompt_version import PromptVersion
from app.prompts.template import ModelHints
from app.providers.provider import ProviderKind

# A character is never more tokens than this in any vocabulary.
_MOST_TOKENS_A_CHARACTER = 4
_TEMPLATE_TOKENS = 4000
_BOUNDS: Mapping[str, tuple[float, float]] = {
    "temperature": (0, 2),
    "max_tokens": (1, 1_000_000),
    "top_p": (0, 1),
}
_DEFAULT_OUTPUT_TOKENS = 1024
# What vendors count for a large picture; its bytes say nothing of it.
_OTHER_PART_TOKENS = 3000
NO_HINTS = ModelHints()
# A prompt may refuse to be rendered without any.
_SHORTEST_DOCUMENT = "."


@dataclass(frozen=True, slots=True)
class Rendered:
    """The messages for one model; `coverage` is the part of the document that is in them."""

    messages: tuple[Message, ...] = field(repr=False)
    coverage: float = 1.0


def prepared(call: Call) -> Call:
    """With what its prompt says where the caller said nothing. Raises LLMBadRequest naming the field."""
    hints, said = hints_of(call), call.parameters
    temperature = hints.temperature if said.temperature is None else said.temperature
    max_tokens = hints.max_output_tokens if said.max_tokens is None else said.max_tokens
    if (temperature, max_tokens) != (said.temperature, said.max_tokens):
        call = replace(call, parameters=replace(said, temperature=temperature, max_tokens=max_tokens))
    _check(call)
    return call


def _check(call: Call) -> None:
    if not call.deadline_seconds > 0:
        raise LLMBadRequest("The deadline must be later than now.", field="deadline_seconds")
    if isinstance(call.prompt, tuple) and not any(_says_something(message) for message in call.prompt):
        raise LLMBadRequest("The prompt is empty.", field="messages")
    for name, (lowest, highest) in _BOUNDS.items():
        value = getattr(call.parameters, name)
        if value is not None and not lowest <= value <= highest:
            raise LLMBadRequest(f"It must be from {lowest:g} to {highest:g}.", field=name)


def _says_something(message: Message) -> bool:
    return bool(said_in(message).strip()) or _other_parts(message) > 0


def _other_parts(message: Message) -> int:
    """Pictures, sounds and files."""
    content = message.get("content")
    return 0 if not isinstance(content, list) else sum(part.get("type") != "text" for part in content)


def wish_of(call: Call) -> Wish:
    """What decides the plan. A document is cut to fit; messages are sent as they are, so they need a window."""
    tokens = 0
    if isinstance(call.prompt, tuple):
        tokens = tokens_of(call.prompt) + (call.parameters.max_tokens or 0)
    hints = hints_of(call)
    task = (f"{TASK_PREFIX}{hints.task}",) if hints.task not in {None, call.task} else ()
    complexity = call.complexity or Complexity(hints.complexity or Complexity.STANDARD)
    return Wish(call.task, call.privacy, call.models, (*hints.models, *task), complexity, tokens)


def hints_of(call: Call) -> ModelHints:
    """What the prompt says of the model that suits it; nothing for plain messages."""
    return NO_HINTS if isinstance(call.prompt, tuple) else call.prompt.hints


def render(call: Call, candidate: Candidate) -> Rendered:
    """Raises LLMContextTooLong when even a cut document leaves no room. For long documents: off the event loop."""
    if isinstance(call.prompt, tuple):
        return Rendered(call.prompt)
    prompt, variant = call.prompt, candidate.provider.kind.value
    window = _window_of(candidate)
    if window is None or _fits_surely(call, window):
        return Rendered(prompt.render(variant, call.variables, call.document))
    return _fitted(call, prompt, candidate, window)


def is_long(call: Call) -> bool:
    """Whether to render it off the event loop."""
    return len(call.document) > 20_000


def tokens_of(messages: tuple[Message, ...]) -> int:
    """An estimate, rather too many than too few."""
    return sum(estimate(said_in(message)) + 10 + _OTHER_PART_TOKENS * _other_parts(message) for message in messages)


def label_of(call: Call) -> str | None:
    return None if isinstance(call.prompt, tuple) else call.prompt.label


def options_of(parameters: Parameters) -> dict[str, Any]:
    """As the vendors' code names them; what was not said is left out."""
    said: dict[str, Any] = {
        "temperature": parameters.temperature,
        "max_tokens": parameters.max_tokens,
        "top_p": parameters.top_p,
        "seed": parameters.seed,
        "stop": list(parameters.stop) or None,
        "tools": [dict(tool) for tool in parameters.tools] or None,
        "tool_choice": parameters.tool_choice,
        "response_format": parameters.response_format,
    }
    return {name: value for name, value in said.items() if value is not None}


def _window_of(candidate: Candidate) -> Window | None:
    """None: nobody knows, and a vendor says so itself. A local server may cut off what is too long without a word."""
    facts = candidate.facts
    if facts.context_window is not None:
        return Window(facts.context_window, facts.max_output_tokens)
    return UNKNOWN_WINDOW if candidate.provider.kind is ProviderKind.OPENAI_COMPATIBLE else None


def _fits_surely(call: Call, window: Window) -> bool:
    most = len(call.document) * _MOST_TOKENS_A_CHARACTER + _TEMPLATE_TOKENS + _output_tokens(call)
    return most <= window.tokens


def _fitted(call: Call, prompt: PromptVersion, candidate: Candidate, window: Window) -> Rendered:
    variant, tokenizer = candidate.provider.kind.value, tokenizer_of(candidate.name)
    empty = prompt.render(variant, call.variables, _SHORTEST_DOCUMENT)
    fixed = sum(tokenizer.count(said_in(message)) for message in empty)
    room = room_for_document(
        window, tokenizer, fixed_tokens=fixed, output_tokens=_output_tokens(call), messages=len(empty)
    )
    if isinstance(room, DoesNotFit):
        raise LLMContextTooLong
    fitted = fit(call.document, room.document_tokens, tokenizer.count)
    return Rendered(prompt.render(variant, call.variables, fitted.text), fitted.coverage)


def _output_tokens(call: Call) -> int:
    return call.parameters.max_tokens or _DEFAULT_OUTPUT_TOKENS
