"""What a call asks for: checked, with what its prompt says where the caller said nothing. Pure."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from app.context.estimate import estimate
from app.errors import LLMBadRequest
from app.llm.call import Call, Complexity, Parameters
from app.llm.extraction import Message, said_in
from app.llm.routing import TASK_PREFIX, Wish
from app.prompts.template import ModelHints

_BOUNDS: Mapping[str, tuple[float, float]] = {
    "temperature": (0, 2),
    "max_tokens": (1, 1_000_000),
    "top_p": (0, 1),
}
# What vendors count for a large picture; its bytes say nothing of it.
_OTHER_PART_TOKENS = 3000
NO_HINTS = ModelHints()


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
        "presence_penalty": parameters.presence_penalty,
        "frequency_penalty": parameters.frequency_penalty,
        "reasoning_effort": parameters.reasoning_effort,
        "parallel_tool_calls": parameters.parallel_tool_calls,
        "stop": list(parameters.stop) or None,
        "tools": [dict(tool) for tool in parameters.tools] or None,
        "tool_choice": parameters.tool_choice,
        "response_format": parameters.response_format,
    }
    return {name: value for name, value in said.items() if value is not None}
