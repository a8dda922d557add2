"""The routes of items, the library and search: parse, one service function in one transaction, answer."""

import hashlib
from collections.abc import Sequence
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response
from sqlalchemy.orm import Session

from app.accounts.identity import CurrentUserId
from app.errors import ApiError
from app.items import queries, service
from app.items.presentation import present
from app.items.schemas import (
    BulkAction,
    BulkError,
    BulkOut,
    BulkRequest,
    BulkResult,
    HistoryEvent,
    HistoryOut,
    ItemCreate,
    ItemOut,
    ItemPatch,
    LibraryOut,
    Pagination,
    PendingOut,
    SearchOut,
)
from app.web import DatabaseOf, Id, Text, declared_errors

_PENDING_MAX = 500  # the default too: who asks for no limit wants all that waits, and `total` tells of more
# Ids a transaction. On SQLite they share a commit, and other writers get their turn in between. On PostgreSQL each has
# its own: events are read in the order of transactions, so one that began before another's change of an item and
# changes that item after it would be heard first; and two of several rows each could deadlock.
_BULK_SHARE_SQLITE, _BULK_SHARE = 25, 1

router = APIRouter(prefix="/items", tags=["items"])
library_router = APIRouter(tags=["library"])

Cursor = Annotated[str | None, Query(max_length=500)]
Limit = Annotated[int, Query(ge=1, le=100)]
Words = Annotated[Text, Query(max_length=500)]
IdempotencyKey = Annotated[Text | None, Header(alias="Idempotency-Key", min_length=1, max_length=255)]


@router.post("", status_code=201, responses=declared_errors(400, 409, 429))
async def create_item(
    body: ItemCreate,
    response: Response,
    user_id: CurrentUserId,
    database: DatabaseOf,
    *,
    request: Request,
    idempotency_key: IdempotencyKey = None,
) -> ItemOut:
    """Capture a text; the answer does not wait for its enrichment."""
    created = await database.write(
        partial(
            service.create_item,
            user_id=user_id,
            request=body,
            idempotency_key=idempotency_key,
            daily_quota=request.app.state.items_per_day,
        )
    )
    if created.replayed:
        response.headers["Idempotency-Replayed"] = "true"
    return created.item


@router.get(
    "/pending",
    response_model=PendingOut,
    responses={304: {"description": "Nothing changed since the ETag that was sent."}},
)
async def pending_items(
    request: Request,
    user_id: CurrentUserId,
    database: DatabaseOf,
    limit: Annotated[int, Query(ge=1, le=_PENDING_MAX)] = _PENDING_MAX,
) -> Response:
    """What waits for the model or for the person, newest first; made to be polled with If-None-Match."""
    items, total = await database.read(lambda session: _present_pending(session, user_id, limit))
    body = PendingOut.model_construct(items=items, total=total).model_dump_json(by_alias=True).encode()
    etag = f'"{hashlib.blake2b(body, digest_size=16).hexdigest()}"'
    headers = {"ETag": etag, "Cache-Control": "private, no-cache"}
    if _names(request.headers.getlist("if-none-match"), etag):
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, media_type="application/json")


@router.post("/bulk", response_model_exclude_unset=True, responses=declared_errors(400))
async def change_items(body: BulkRequest, user_id: CurrentUserId, database: DatabaseOf) -> BulkOut:
    """Confirm, discard or retry many items, each on its own."""
    ids = list(dict.fromkeys(body.ids))
    results: list[BulkResult] = []
    size = _BULK_SHARE_SQLITE if database.is_sqlite else _BULK_SHARE
    for start in range(0, len(ids), size):
        share = ids[start : start + size]
        results += await database.write(partial(_change_each, user_id=user_id, action=body.action, ids=share))
    return BulkOut(results=results)


@router.get("/{item_id}", responses=declared_errors(404))
async def get_item(item_id: Id, user_id: CurrentUserId, database: DatabaseOf) -> ItemOut:
    return await database.read(lambda session: present(session, [queries.own_item(session, user_id, item_id)])[0])


@router.patch("/{item_id}", responses=declared_errors(400, 404, 409))
async def change_item(item_id: Id, body: ItemPatch, user_id: CurrentUserId, database: DatabaseOf) -> ItemOut:
    """Confirm, discard or, without an action, edit."""
    return await database.write(partial(service.change_item, user_id=user_id, item_id=item_id, patch=body))


@router.post("/{item_id}/retry", responses=declared_errors(404, 409))
async def retry_item(item_id: Id, user_id: CurrentUserId, database: DatabaseOf) -> ItemOut:
    """Have a failed item enriched once more."""
    return await database.write(partial(service.retry_item, user_id=user_id, item_id=item_id))


@router.post("/{item_id}/unconfirm", responses=declared_errors(404, 409))
async def unconfirm_item(item_id: Id, user_id: CurrentUserId, database: DatabaseOf) -> ItemOut:
    """Take a confirmed item back to its suggestions."""
    return await database.write(partial(service.unconfirm_item, user_id=user_id, item_id=item_id))


@router.get("/{item_id}/history", responses=declared_errors(404))
async def item_history(item_id: Id, user_id: CurrentUserId, database: DatabaseOf) -> HistoryOut:
    """What changed, when and by whom, oldest first."""
    events = await database.read(lambda s: queries.history_of(s, queries.own_item(s, user_id, item_id)))
    return HistoryOut(events=[HistoryEvent.model_validate(event) for event in events])


@library_router.get("/library", responses=declared_errors(400))
async def library(
    user_id: CurrentUserId,
    database: DatabaseOf,
    *,
    cursor: Cursor = None,
    limit: Limit = 20,
    q: Words = "",
    tag: Annotated[Text, Query(max_length=50)] = "",
) -> LibraryOut:
    """Confirmed items, newest first."""

    def read(session: Session) -> LibraryOut:
        page = queries.library_page(session, user_id, words=q.strip(), tag=tag.strip(), cursor=cursor, limit=limit)
        return LibraryOut.model_construct(items=present(session, page.items), pagination=_pagination(page))

    return await database.read(read)


@library_router.get("/search", responses=declared_errors(400))
async def search(
    user_id: CurrentUserId, database: DatabaseOf, q: Words, *, cursor: Cursor = None, limit: Limit = 20
) -> SearchOut:
    """Confirmed items by words in title, summary, text and tags, or by one tag with `#tag`."""

    def read(session: Session) -> SearchOut:
        page, mode, total = queries.search_page(session, user_id, words=q, cursor=cursor, limit=limit)
        return SearchOut.model_construct(
            items=present(session, page.items), mode=mode, pagination=_pagination(page), total=total
        )

    return await database.read(read)


def _names(conditions: Sequence[str], etag: str) -> bool:
    """The weak comparison of RFC 9110: a proxy that compresses the answer puts W/ before the tag."""
    offered = {part.strip().removeprefix("W/") for condition in conditions for part in condition.split(",")}
    return etag in offered or "*" in offered


def _present_pending(session: Session, user_id: str, limit: int) -> tuple[list[ItemOut], int]:
    items, total = queries.pending_items(session, user_id, limit)
    return present(session, items), total


def _pagination(page: queries.Page) -> Pagination:
    return Pagination.model_construct(cursor=page.cursor, has_more=page.cursor is not None)


def _change_each(session: Session, user_id: str, action: BulkAction, ids: list[str]) -> list[BulkResult]:
    return [_change_one(session, user_id, action, item_id) for item_id in ids]


def _change_one(session: Session, user_id: str, action: BulkAction, item_id: str) -> BulkResult:
    try:
        with session.begin_nested():
            if action == "retry":
                item = service.retry_item(session, user_id, item_id)
            else:
                item = service.change_item(session, user_id, item_id, ItemPatch(action=action))
    except ApiError as error:
        details = dict(error.details) if error.details else None
        return BulkResult(id=item_id, error=BulkError(code=error.code, message=error.message, details=details))
    return BulkResult(id=item_id, status=item.status)
