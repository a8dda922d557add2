"""OpenAI's wire: reads a chat completion request, writes the completion or the error.

`openai_stream.py` sends the same in pieces. Invariant: the usage in an answer is exactly what the log bills.
"""

from collections.abc import Mapping
from typing import Any

import orjson

from tests.protocol_server.answers import Ask, tokens_of
from tests.protocol_server.faults.plan import Plan

CORRELATION_HEADERS = (
    "x-litevault-attempt",
    "x-correlation-id",
    "x-client-request-id",
    "x-request-id",
    "idempotency-key",
)
FINGERPRINT = "fp_protocol_server"
ECHO_CHARACTERS = 200
CREATED = 1_700_000_000
_TOKENS_PER_REQUEST = 8


def read_ask(body: bytes, headers: Mapping[str, str]) -> Ask:
    """Raises ValueError, TypeError, KeyError or AttributeError when the body asks for no completion."""
    request = orjson.loads(body)
    if not isinstance(request, dict) or not isinstance(request.get("messages"), list):
        raise TypeError("missing required parameter: 'messages'")
    texts = [(message.get("role"), text_of(message.get("content"))) for message in request["messages"]]
    mode, form = _form_of(request, texts)
    return Ask(
        model=str(request.get("model", "")),
        mode=mode,
        tool_name=form.get("name"),
        schema=form.get("parameters") or form.get("schema"),
        user_texts=tuple(text for role, text in texts if role == "user") or ("",),
        prompt_tokens=_TOKENS_PER_REQUEST + sum(tokens_of(text) for _role, text in texts),
        messages=len(texts),
        stream=bool(request.get("stream")),
        stream_usage=bool((request.get("stream_options") or {}).get("include_usage")),
        key=key_of(headers),
        correlation_id=correlation_id_of(headers),
    )


def completion(plan: Plan, answer_id: str) -> tuple[bytes, int]:
    """The body of a good or badly worded answer, and its completion tokens."""
    message, completion_tokens = message_of(plan, answer_id)
    finish_reason = finish_reason_of(plan, message)
    answer: dict[str, Any] = {
        "id": answer_id,
        "object": "chat.completion",
        "created": CREATED,
        "model": plan.ask.model,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason}],
        "system_fingerprint": FINGERPRINT,
    }
    if plan.has_usage:
        answer["usage"] = usage_of(plan, completion_tokens)
    return orjson.dumps(answer), completion_tokens


def usage_of(plan: Plan, completion_tokens: int) -> dict[str, Any]:
    prompt_tokens = plan.ask.prompt_tokens
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "prompt_tokens_details": {"cached_tokens": plan.cached_tokens, "audio_tokens": 0},
    }


def finish_reason_of(plan: Plan, message: dict[str, Any]) -> str:
    has_call = plan.finish_reason == "stop" and message.get("tool_calls")
    return "tool_calls" if has_call else plan.finish_reason


def failure(plan: Plan) -> tuple[int, bytes]:
    """Status and body of `plan.error`, its message filled with what a careless vendor repeats."""
    error, ask = plan.error, plan.ask
    if error is None:
        raise ValueError("the plan holds no error")
    message = error.message.format(
        key=ask.key or "", model=ask.model, text=ask.first_text[:ECHO_CHARACTERS], tokens=ask.prompt_tokens
    )
    return error.status, error_body(message, error.kind, error.code, error.param)


def error_body(message: str, kind: str, code: str | None = None, param: str | None = None) -> bytes:
    return orjson.dumps({"error": {"message": message, "type": kind, "param": param, "code": code}})


def message_of(plan: Plan, answer_id: str) -> tuple[dict[str, Any], int]:
    """The assistant's message, and its completion tokens: all that it says is counted."""
    message: dict[str, Any] = {"role": "assistant", "content": None, "refusal": plan.refusal}
    if plan.refusal is not None:
        return message, tokens_of(plan.refusal)
    text, ask = plan.said(), plan.ask
    if ask.mode == "tools" and not plan.is_spoken:
        message["content"] = plan.thought or None
        function = {"name": ask.tool_name, "arguments": text}
        message["tool_calls"] = [{"id": f"call_{answer_id}", "type": "function", "function": function}]
    elif ask.mode == "md_json" and not plan.is_spoken:
        message["content"] = f"{plan.thought}```json\n{text}\n```"
    else:
        message["content"] = plan.thought + text
    return message, tokens_of(plan.thought + text)


def _form_of(request: dict[str, Any], texts: list[tuple[Any, str]]) -> tuple[str, dict[str, Any]]:
    """The mode, and the function or the schema that the answer must have."""
    choice, functions = request.get("tool_choice"), [tool["function"] for tool in request.get("tools") or ()]
    if isinstance(choice, dict):
        name = choice["function"]["name"]
        return "tools", next((function for function in functions if function["name"] == name), {"name": name})
    # Who may choose, and has the result of the tool, speaks.
    has_result = choice != "required" and bool(texts) and texts[-1][0] == "tool"
    if functions and choice != "none" and not has_result:
        return "tools", functions[0]
    wanted = request.get("response_format") or {}
    if wanted.get("type") in {"json_schema", "json_object"}:
        return wanted["type"], {"schema": (wanted.get("json_schema") or {}).get("schema")}
    return spoken_mode_of([text for _role, text in texts]), {}


def spoken_mode_of(texts: list[str]) -> str:
    """Of a call without tools and formats: whether its words ask for a form."""
    return "md_json" if any("```json" in text or "codeblock" in text for text in texts) else "plain"


def text_of(content: object) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(part.get("text") or "" for part in content if isinstance(part, dict))
    return ""


def correlation_id_of(headers: Mapping[str, str]) -> str | None:
    return next((headers[name] for name in CORRELATION_HEADERS if name in headers), None)


def key_of(headers: Mapping[str, str]) -> str | None:
    scheme, _, key = headers.get("authorization", "").partition(" ")
    return key.strip() or None if scheme.lower() == "bearer" else None
