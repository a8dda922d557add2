"""A streamed query as server-sent events: started, delta, restart, and at the end done or error.

After `restart` what came before is void. Only `done` says that the answer is whole.
"""

from collections.abc import AsyncIterator, Mapping
from typing import Any

import orjson
import structlog
from fastapi.sse import format_sse_event

from app.errors import ApiError, LLMError
from app.llm.call import Finished, Restarted, StreamEvent
from app.queries.asking import receipt_out, shown
from app.queries.live import LiveCall
from app.queries.passing_on import KEEP_ALIVE
from app.web import envelope

log = structlog.get_logger()


async def server_sent(
    call: LiveCall, first: StreamEvent | None, started: Mapping[str, Any], request_id: str
) -> AsyncIterator[bytes]:
    """`first` is what the call gave before the answer was begun."""
    number, event = 1, first
    yield _written(number, "started", started)
    try:
        while not isinstance(event, Finished):
            number += 1
            yield KEEP_ALIVE if event is None else _written(number, *_told(event))
            event = await call.next()
    except (LLMError, ApiError) as fault:
        error = shown(fault) if isinstance(fault, LLMError) else fault
        log.warning("query.stream_failed", query_id=call.id, code=error.code)
        yield _written(number + 1, "error", envelope(request_id, error.code, error.message, error.details))
        return
    yield _written(number + 1, "done", _done(call.id, event))


def _told(event: StreamEvent) -> tuple[str, dict[str, Any]]:
    if isinstance(event, Restarted):
        return "restart", {"model": event.model}
    assert not isinstance(event, Finished)  # noqa: S101 - the loop ends with it
    return "delta", {"content": event.content}


def _done(query_id: str, event: Finished) -> dict[str, Any]:
    receipt = receipt_out(event.receipt).model_dump(mode="json", by_alias=True)
    return {"queryId": query_id, "finishReason": event.completion.finish_reason, **receipt}


def _written(number: int, name: str, data: Mapping[str, Any]) -> bytes:
    return format_sse_event(event=name, data_str=orjson.dumps(data).decode(), id=str(number))
