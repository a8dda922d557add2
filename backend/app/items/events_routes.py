"""Live events: the person's journal as server-sent events, from where the listener left off."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import Annotated, Self

from fastapi import APIRouter, Depends, Header
from fastapi.sse import EventSourceResponse, ServerSentEvent

from app.accounts.identity import CurrentUserId
from app.announcements import News, Noticeboard
from app.errors import InvalidCursor
from app.items.item import ItemStatus
from app.items.item_model import ItemEvent
from app.items.queries import events_after, newest_event
from app.web import DatabaseOf, WireModel, WireTime, declared_stream_errors

_PAGE = 200
_MAX_NUMBER = 2**63 - 1
_POLL_SECONDS = 5.0  # the safety net under a missed announcement
_HELD_BACK_SECONDS = 0.05  # an older transaction may hide a committed event for a moment

router = APIRouter(prefix="/items", tags=["items"])
Place = tuple[int, int]


class ItemEventOut(WireModel):
    """An item's new state."""

    id: str
    status: ItemStatus
    updated_at: WireTime


async def _last_event_id(
    last_event_id: Annotated[str | None, Header(alias="Last-Event-ID", max_length=50)] = None,
) -> Place | None:
    """Raises InvalidCursor for an id that is not of our making."""
    if last_event_id is None:
        return None
    tx, _, seq = last_event_id.partition("-")
    if not (tx.isascii() and tx.isdigit() and seq.isascii() and seq.isdigit()):
        raise InvalidCursor
    place = int(tx), int(seq)
    if max(place) > _MAX_NUMBER:
        raise InvalidCursor
    return place


@router.get("/events", response_class=EventSourceResponse, responses=declared_stream_errors(400))
async def item_events(
    user_id: CurrentUserId, database: DatabaseOf, after: Annotated[Place | None, Depends(_last_event_id)]
) -> AsyncIterator[ServerSentEvent]:
    """Each change of an item as it is committed; `Last-Event-ID` resumes without a gap."""
    place = after if after is not None else await database.read(lambda session: newest_event(session, user_id))
    async with _Listener(database.noticeboard, user_id) as listener:
        while not database.noticeboard.closed:
            events = await database.read(partial(events_after, user_id=user_id, after=place, limit=_PAGE))
            for event in events:
                place = (event.tx, event.seq)
                yield _server_sent(event)
            if not events:
                await listener.wait()


def _server_sent(event: ItemEvent) -> ServerSentEvent:
    body = ItemEventOut(id=event.item_id, status=ItemStatus(event.status), updated_at=event.at)
    return ServerSentEvent(data=body.model_dump(mode="json", by_alias=True), event="item", id=f"{event.tx}-{event.seq}")


class _Listener:
    """Waits for news that concern one person."""

    def __init__(self, noticeboard: Noticeboard, user_id: str) -> None:
        self._noticeboard, self._user_id = noticeboard, user_id
        self._heard = asyncio.Event()
        self._again = False

    async def __aenter__(self) -> Self:
        self._unsubscribe = self._noticeboard.subscribe(self._hear)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._unsubscribe()

    async def wait(self) -> None:
        """Until there may be something new; soon after the last news again, in case some was held back."""
        seconds = _HELD_BACK_SECONDS if self._again else _POLL_SECONDS
        try:
            async with asyncio.timeout(seconds):
                await self._heard.wait()
        except TimeoutError:
            self._again = False
        else:
            self._again = True
        self._heard.clear()

    def _hear(self, news: News) -> None:
        if news.concerns(self._user_id):
            self._heard.set()
