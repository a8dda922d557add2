"""Live events: the person's journal as server-sent events, from where the listener left off."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Header
from fastapi.sse import EventSourceResponse, ServerSentEvent

from app.accounts.identity import CurrentUserId
from app.announcements import News, Noticeboard
from app.errors import InvalidCursor
from app.items.item_model import ItemEvent
from app.items.queries import events_after, newest_event
from app.items.schemas import ItemStatus, WireTime
from app.web import DatabaseOf, WireModel, declared_errors

_PAGE = 200
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
    if not (tx.isascii() and tx.isdigit() and seq.isascii() and seq.isdigit() and len(last_event_id) <= 38):
        raise InvalidCursor
    return int(tx), int(seq)


@router.get("/events", response_class=EventSourceResponse, responses=declared_errors(400))
async def item_events(
    user_id: CurrentUserId, database: DatabaseOf, after: Annotated[Place | None, Depends(_last_event_id)]
) -> AsyncIterator[ServerSentEvent]:
    """Each change of an item as it is committed; `Last-Event-ID` resumes without a gap."""
    place = after or await database.read(lambda session: newest_event(session, user_id))
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
    return ServerSentEvent(data=body, event="item", id=f"{event.tx}-{event.seq}")


class _Listener:
    """Waits for news that concern one person."""

    def __init__(self, noticeboard: Noticeboard, user_id: str) -> None:
        self._noticeboard, self._user_id = noticeboard, user_id
        self._heard = asyncio.Event()
        self._again = False

    async def __aenter__(self) -> "_Listener":
        self._unsubscribe = self._noticeboard.subscribe(self._hear)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._unsubscribe()

    async def wait(self) -> None:
        """Returns when there may be something new; a short while after the last news once more, in case it was held back."""
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
