"""Anthropic's wire: reads a request for a message, writes the message or the error.

`anthropic_stream.py` sends the same in pieces. Invariant: the usage in an answer, with the tokens read from and
written to the cache, is exactly what the log bills.
"""

from collections.abc import Mapping
from typing import Any

import orjson

from tests.protocol_server.answers import Ask, tokens_of
from tests.protocol_server.faults.plan import Plan
from tests.protocol_server.wires import openai

Block = dict[str, Any]

_TOKENS_PER_REQUEST = 8
_STOP_REASONS = {"stop": "end_turn", "length": "max_tokens", "content_filter": "refusal"}
# OpenAI's status and code → this vendor's status, type and sentence; None keeps the sentence.
_BY_CODE: dict[str, tuple[int, str, str | None]] = {
    "context_length_exceeded": (400, "invalid_request_error", "prompt is too long: {tokens} tokens > 1000 maximum"),
    "content_policy_violation": (400, "invalid_request_error", "Output blocked by content filtering policy"),
    "insufficient_quota": (402, "billing_error", "Your credit balance is too low to access the Anthropic API."),
    "model_not_found": (404, "not_found_error", "model: {model}"),
}
_BY_STATUS: dict[int, tuple[int, str, str | None]] = {
    400: (400, "invalid_request_error", None),
    401: (401, "authentication_error", "invalid x-api-key: {key}"),
    403: (403, "permission_error", None),
    408: (504, "timeout_error", None),
    429: (429, "rate_limit_error", "This request would exceed the rate limit for your organization."),
    529: (529, "overloaded_error", "Overloaded"),
}


def read_ask(body: bytes, headers: Mapping[str, str]) -> Ask:
    """Raises ValueError, TypeError, KeyError or AttributeError when the body asks for no message."""
    request = orjson.loads(body)
    if not isinstance(request, dict) or not isinstance(request.get("messages"), list):
        raise TypeError("messages: Field required")
    if not isinstance(request.get("max_tokens"), int):
        raise TypeError("max_tokens: Field required")
    if "anthropic-version" not in headers:
        raise ValueError("anthropic-version: header is required")
    system = openai.text_of(request.get("system"))
    texts = [(message["role"], openai.text_of(message.get("content"))) for message in request["messages"]]
    mode, form = _form_of(request, [system, *(text for _role, text in texts)])
    return Ask(
        model=str(request.get("model", "")),
        mode=mode,
        tool_name=form.get("name"),
        schema=form.get("input_schema") or form.get("schema"),
        user_texts=tuple(text for role, text in texts if role == "user" and text) or ("",),
        prompt_tokens=_TOKENS_PER_REQUEST + tokens_of(system) + sum(tokens_of(text) for _role, text in texts),
        messages=len(texts),
        stream=bool(request.get("stream")),
        stream_usage=True,
        key=headers.get("x-api-key") or openai.key_of(headers),
        correlation_id=openai.correlation_id_of(headers),
    )


def completion(plan: Plan, answer_id: str) -> tuple[bytes, int]:
    """The body of a good or badly worded message, and its output tokens."""
    blocks, output_tokens = blocks_of(plan, answer_id)
    for block in blocks:
        if block["type"] == "tool_use":
            block["input"] = _object_of(block["input"])
    message = {**frame_of(plan, answer_id), "content": blocks, "stop_reason": stop_reason_of(plan, blocks)}
    if plan.has_usage:
        message["usage"] = usage_of(plan, output_tokens)
    return orjson.dumps(message), output_tokens


def failure(plan: Plan) -> tuple[int, bytes]:
    """Status and body of `plan.error`, its message filled with what a careless vendor repeats."""
    error, ask = plan.error, plan.ask
    if error is None:
        raise ValueError("the plan holds no error")
    otherwise = (error.status, "api_error", None)
    status, kind, sentence = _BY_CODE.get(error.code or "") or _BY_STATUS.get(error.status, otherwise)
    text = ask.first_text[: openai.ECHO_CHARACTERS]
    message = (sentence or error.message).format(
        key=ask.key or "", model=ask.model, text=text, tokens=ask.prompt_tokens
    )
    return status, error_body(message, kind)


def error_body(message: str, kind: str, code: str | None = None) -> bytes:
    """`code`, which this vendor does not have, is for mistakes in a test."""
    extra = {"code": code} if code is not None else {}
    return orjson.dumps({"type": "error", "error": {"type": kind, "message": message, **extra}})


def frame_of(plan: Plan, answer_id: str) -> dict[str, Any]:
    return {
        "id": answer_id,
        "type": "message",
        "role": "assistant",
        "model": plan.ask.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
    }


def usage_of(plan: Plan, output_tokens: int) -> dict[str, int]:
    """Input tokens are those that had nothing to do with the cache."""
    return {
        "input_tokens": plan.ask.prompt_tokens - plan.cached_tokens - plan.cache_write_tokens,
        "cache_creation_input_tokens": plan.cache_write_tokens,
        "cache_read_input_tokens": plan.cached_tokens,
        "output_tokens": output_tokens,
    }


def stop_reason_of(plan: Plan, blocks: list[Block]) -> str:
    if plan.refusal is not None:
        return "refusal"
    if plan.finish_reason == "stop" and any(block["type"] == "tool_use" for block in blocks):
        return "tool_use"
    return _STOP_REASONS[plan.finish_reason]


def blocks_of(plan: Plan, answer_id: str) -> tuple[list[Block], int]:
    """The content blocks, the input of a tool still as text, and the output tokens: all that is said counts."""
    if plan.refusal is not None:
        return [_text_block(plan.refusal)], tokens_of(plan.refusal)
    message, output_tokens = openai.message_of(plan, answer_id)
    blocks = [_text_block(message["content"])] if message["content"] else []
    for call in message.get("tool_calls", ()):
        function = call["function"]
        tool = {"type": "tool_use", "id": f"toolu_{answer_id}", "name": function["name"]}
        blocks.append({**tool, "input": function["arguments"]})
    return blocks, output_tokens


def _text_block(text: str) -> Block:
    return {"type": "text", "text": text}


def _object_of(arguments: str) -> object:
    """What is cut in the middle arrives as nothing."""
    try:
        return orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return {}


def _form_of(request: dict[str, Any], texts: list[str]) -> tuple[str, dict[str, Any]]:
    """The mode, and the tool or the format that the answer must have."""
    tools, choice = request.get("tools") or [], request.get("tool_choice") or {"type": "auto"}
    if choice["type"] == "tool":
        return "tools", next(tool for tool in tools if tool["name"] == choice["name"])
    # Who may choose, and has the result of the tool, speaks.
    if tools and (choice["type"] == "any" or (choice["type"] == "auto" and not _has_result(request["messages"]))):
        return "tools", tools[0]
    wanted = request.get("output_format") or (request.get("output_config") or {}).get("format") or {}
    if wanted.get("type") == "json_schema":
        return "json_schema", {"schema": wanted.get("schema")}
    return openai.spoken_mode_of(texts), {}


def _has_result(messages: list[dict[str, Any]]) -> bool:
    content = messages[-1].get("content") if messages else None
    return isinstance(content, list) and any(block.get("type") == "tool_result" for block in content)
