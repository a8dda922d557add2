"""Between OpenAI's wire and the gateway: a request becomes a call, an answer becomes a completion or its chunks.

OpenAI's wire has no way to take back what was sent. So a stream that begins anew on another model before its first
piece is passed on does so unseen; after that it ends with an error event and without [DONE]: the client never takes
two halves, or one, for a whole answer. Whoever wants to see restarts asks POST /api/v1/llm/query/stream.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
import structlog

from app.accounts.privacy import Privacy
from app.chat.schemas import (
    AnswerMessage,
    ChatCompletion,
    ChatRequest,
    Choice,
    FunctionOut,
    LiteVaultReceipt,
    TokensUsed,
    ToolCallOut,
    message_of,
)
from app.errors import ApiError, LLMError, LLMUnreachable, NotFound
from app.llm.attempts import Usage
from app.llm.call import (
    CacheScope,
    Call,
    Completion,
    Delta,
    Finished,
    Parameters,
    Restarted,
    Spender,
    StreamEvent,
)
from app.queries.asking import models_of, shown
from app.queries.live import LiveCall
from app.queries.passing_on import KEEP_ALIVE
from app.web import openai_error

log = structlog.get_logger()
TASK = "chat"
_END = b"data: [DONE]\n\n"


def call_of(body: ChatRequest, spender: Spender, privacy: Privacy, deadline_seconds: float) -> Call:
    """`privacy` is the person's default: this wire has no word for it."""
    return Call(
        task=TASK,
        prompt=tuple(message_of(message) for message in body.messages),
        spender=spender,
        deadline_seconds=deadline_seconds,
        privacy=privacy,
        models=models_of(body.model, body.fallback_models),
        parameters=_parameters(body),
        cache=CacheScope.PERSON,
    )


def _parameters(body: ChatRequest) -> Parameters:
    choice, form = body.tool_choice, body.response_format
    stop = [body.stop] if isinstance(body.stop, str) else body.stop or ()
    return Parameters(
        temperature=body.temperature,
        max_tokens=body.max_completion_tokens or body.max_tokens,
        stop=tuple(stop),
        top_p=body.top_p,
        seed=body.seed,
        presence_penalty=body.presence_penalty,
        frequency_penalty=body.frequency_penalty,
        reasoning_effort=body.reasoning_effort,
        parallel_tool_calls=body.parallel_tool_calls,
        tools=tuple(tool.model_dump(mode="json", exclude_none=True) for tool in body.tools or ()),
        tool_choice=choice if choice is None or isinstance(choice, str) else choice.model_dump(mode="json"),
        response_format=None if form is None else form.model_dump(mode="json", exclude_none=True, by_alias=True),
    )


def told(fault: LLMError) -> ApiError:
    """A model that there is not is 404, as at OpenAI."""
    error = shown(fault, asked_in="messages")
    errors = (error.details or {}).get("errors")
    if isinstance(errors, list) and errors[0]["field"] == "model":
        return NotFound(str(errors[0]["message"]), error.details)
    return error


def completion_of(call_id: str, created: datetime, completion: Completion) -> ChatCompletion:
    receipt = completion.receipt
    calls = [
        ToolCallOut(id=call.id, function=FunctionOut(name=call.name, arguments=call.arguments))
        for call in completion.tool_calls
    ]
    message = AnswerMessage(content=completion.content or None, tool_calls=calls or None)
    cost = receipt.cost_usd
    return ChatCompletion(
        id=_id_of(call_id),
        created=int(created.timestamp()),
        model=receipt.model,
        choices=[Choice(message=message, finish_reason=completion.finish_reason)],
        usage=_usage(receipt.usage),
        litevault=LiteVaultReceipt(
            provider=receipt.provider,
            cost_usd=None if cost is None else float(cost),
            cached=receipt.cached,
            attempts=len(receipt.attempts),
        ),
    )


def _id_of(call_id: str) -> str:
    return f"chatcmpl-{call_id}"


def _usage(usage: Usage) -> TokensUsed:
    asked, answered = usage.input_tokens or 0, usage.output_tokens or 0
    return TokensUsed(prompt_tokens=asked, completion_tokens=answered, total_tokens=asked + answered)


@dataclass(slots=True)
class Chunks:
    """A streamed completion. `model`: the one that was asked for, then the one that answers."""

    call: LiveCall
    created: datetime
    model: str
    with_usage: bool

    async def of(self, first: StreamEvent | None) -> AsyncIterator[bytes]:
        """`first` is what the call gave before the answer was begun."""
        event = first
        self.model = _model_of(event) or self.model
        yield self._chunk({"role": "assistant", "content": ""})
        try:
            while not isinstance(event, Finished):
                if isinstance(event, Restarted):
                    raise LLMUnreachable  # see the top of this file
                yield KEEP_ALIVE if event is None else self._chunk(_delta(event))
                event = await self.call.next()
                self.model = _model_of(event) or self.model
        except (LLMError, ApiError) as fault:
            yield self._error(told(fault) if isinstance(fault, LLMError) else fault)
            return
        completion = event.completion
        yield self._chunk({}, finish_reason=completion.finish_reason)
        if self.with_usage:
            yield self._written(choices=[], usage=_usage(completion.receipt.usage).model_dump())
        yield _END

    def _chunk(self, delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
        return self._written(choices=[{"index": 0, "delta": delta, "finish_reason": finish_reason, "logprobs": None}])

    def _written(self, **parts: Any) -> bytes:  # noqa: ANN401 - JSON
        known = {"id": _id_of(self.call.id), "object": "chat.completion.chunk", "model": self.model}
        return b"data: " + orjson.dumps({**known, "created": int(self.created.timestamp()), **parts}) + b"\n\n"

    def _error(self, error: ApiError) -> bytes:
        log.warning("chat.stream_failed", query_id=self.call.id, code=error.code)
        return b"data: " + orjson.dumps(openai_error(error.status, error.code, error.message, error.details)) + b"\n\n"


def _model_of(event: StreamEvent | None) -> str | None:
    if isinstance(event, Finished):
        return event.receipt.model
    return event.model if isinstance(event, Delta) else None


def _delta(event: StreamEvent) -> dict[str, Any]:
    assert isinstance(event, Delta)  # noqa: S101 - the others were dealt with
    delta: dict[str, Any] = {"content": event.content} if event.content else {}
    calls = [
        {
            "index": call.index,
            **({"id": call.id, "type": "function"} if call.id else {}),
            "function": {**({"name": call.name} if call.name else {}), "arguments": call.arguments},
        }
        for call in event.tool_calls
    ]
    return {**delta, "tool_calls": calls} if calls else delta
