"""The routes of queries: ask and wait, ask and read along, look later, cancel."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from app.accounts.identity import CurrentUserId
from app.accounts.roles import CurrentRole
from app.errors import LLMError, QueryCancelled, QueryUnfinished, llm_errors
from app.queries import service
from app.queries.asking import failure_of, shown
from app.queries.desk import Desk
from app.queries.events import server_sent
from app.queries.passing_on import SERVER_SENT, ClientGone, LiveResponse, unless_gone
from app.queries.query_model import Query, QueryStatus
from app.queries.schemas import QueryAccepted, QueryAsked, QueryError, QueryRequest, QueryResult, QueryStatusOut
from app.web import DatabaseOf, Id, Text, declared_errors, declared_stream_errors

router = APIRouter(prefix="/llm/query", tags=["queries"])
IdempotencyKey = Annotated[Text | None, Header(alias="Idempotency-Key", min_length=1, max_length=255)]
_PATH = "/api/v1/llm/query"
_CALL_FAILED = (429, 502, 504)
_GONE = 499  # nobody reads it


async def _desk_of(request: Request) -> Desk:
    desk: Desk = request.app.state.queries
    return desk


DeskOf = Annotated[Desk, Depends(_desk_of)]


@router.post(
    "",
    response_model=QueryResult,
    responses={
        202: {"model": QueryAccepted, "description": "Not answered within `waitSeconds`; ask for it later."},
        **declared_errors(403, 409, *_CALL_FAILED),
    },
)
async def ask(
    body: QueryRequest,
    user_id: CurrentUserId,
    role: CurrentRole,
    desk: DeskOf,
    *,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Ask a model, and wait up to `waitSeconds` for the answer. A query survives a restart of the server."""
    request = await desk.asker.prepare(body, user_id, role)
    once = service.Once.of(idempotency_key, body)
    enqueue = partial(service.enqueue, user_id=user_id, request=request, once=once, quota=desk.quota)
    asked = await desk.database.write(enqueue)
    await desk.endings.wait(asked.id, body.wait_seconds, is_new=not asked.replayed)
    query = await desk.database.read(lambda session: service.finished_query(session, user_id, asked.id))
    headers = {"Idempotency-Replayed": "true"} if asked.replayed else {}
    if query.status == QueryStatus.RUNNING:
        return JSONResponse(_accepted(query).model_dump(mode="json", by_alias=True), 202, headers)
    return JSONResponse(_result(query).model_dump(mode="json", by_alias=True), 200, headers)


@router.post(
    "/stream",
    response_class=StreamingResponse,
    responses={
        200: {"content": SERVER_SENT, "description": "Events."},
        **declared_stream_errors(403, *_CALL_FAILED),
    },
)
async def ask_and_read_along(
    body: QueryAsked, request: Request, user_id: CurrentUserId, role: CurrentRole, *, desk: DeskOf
) -> Response:
    """The answer as it is written: `started`, `delta`, `restart` (what came is void), then `done` or `error`."""
    asked = await desk.asker.prepare(body, user_id, role)
    call = await desk.live.begin_query(
        user_id, asked.model_dump(mode="json"), lambda recorder: desk.asker.stream(asked, user_id, recorder)
    )
    try:
        first = await unless_gone(request, call, call.next)
    except LLMError as fault:
        raise shown(fault) from fault
    except ClientGone:
        return Response(status_code=_GONE)
    started = {"queryId": call.id, **_urls(call.id)}
    return LiveResponse(call, server_sent(call, first, started, request.state.request_id))


@router.get("/{query_id}/status", responses=declared_errors(404))
async def query_status(query_id: Id, user_id: CurrentUserId, database: DatabaseOf) -> QueryStatusOut:
    """How far it is; `error` says why it failed."""
    query = await database.read(lambda session: service.own_query(session, user_id, query_id))
    fault = _fault_of(query)
    error = None
    if fault is not None:
        kind, sentence = fault
        error = QueryError(code=kind.code, message=sentence, retryable=kind.retryable)
    accepted = _accepted(query).model_dump()
    return QueryStatusOut(**accepted, created_at=query.created_at, updated_at=query.updated_at, error=error)


@router.get("/{query_id}/result", responses=declared_errors(404, 409, *_CALL_FAILED))
async def query_result(query_id: Id, user_id: CurrentUserId, database: DatabaseOf) -> QueryResult:
    """The answer; 409 while there is none, and the fault of the call where it failed."""
    return _result(await database.read(lambda session: service.finished_query(session, user_id, query_id)))


@router.delete("/{query_id}", status_code=204, responses=declared_errors(404))
async def cancel_query(query_id: Id, user_id: CurrentUserId, database: DatabaseOf) -> None:
    """Drop it, and its call. One that has ended stays as it is."""
    await database.write(partial(service.cancel, user_id=user_id, query_id=query_id))


def _urls(query_id: str) -> dict[str, str]:
    return {"statusUrl": f"{_PATH}/{query_id}/status", "resultUrl": f"{_PATH}/{query_id}/result"}


def _accepted(query: Query) -> QueryAccepted:
    urls = _urls(query.id)
    status = QueryStatus(query.status)
    return QueryAccepted(query_id=query.id, status=status, status_url=urls["statusUrl"], result_url=urls["resultUrl"])


def _result(query: Query) -> QueryResult:
    """Raises QueryUnfinished, QueryCancelled, CallFailed."""
    details = {"queryId": query.id}
    fault = _fault_of(query)
    if fault is not None:
        kind, sentence = fault
        raise failure_of(kind, sentence, queryId=query.id, **(query.receipt or {}))
    if query.status == QueryStatus.CANCELLED:
        raise QueryCancelled(details=details)
    if query.answer is None or query.receipt is None:
        raise QueryUnfinished(details=details)
    return QueryResult.model_validate({**query.answer, **query.receipt, "queryId": query.id, "status": query.status})


def _fault_of(query: Query) -> tuple[type[LLMError], str] | None:
    """Which fault it failed by, and the sentence of the time."""
    if query.status != QueryStatus.FAILED:
        return None
    code, _, sentence = (query.query_error or "").partition(": ")
    return llm_errors().get(code, LLMError), sentence
