"""News of committed changes: what a transaction announces reaches listeners here after its commit, never before.

A missed announcement costs time, never correctness: whoever listens also polls.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import orjson
import structlog
from sqlalchemy.orm import Session

log = structlog.get_logger()
_IDS_PER_NOTICE = 100  # a PostgreSQL notification holds 8,000 bytes; past that, listeners are told "anything"


@dataclass(slots=True)
class News:
    """What a transaction changed: rows became ready to be claimed, somewhere or in these tables, these users' items
    changed, these jobs were stopped, these rows that requests wait for have ended, these parts of what is configured
    in the database changed.

    `anything` stands for a change of unknown extent, made by another process.
    """

    ready: bool = False
    ready_in: set[str] = field(default_factory=set)
    users: set[str] = field(default_factory=set)
    stopped: set[str] = field(default_factory=set)
    ended: set[str] = field(default_factory=set)
    configured: set[str] = field(default_factory=set)
    anything: bool = False

    def __bool__(self) -> bool:
        named = self.ready_in or self.users or self.stopped or self.ended or self.configured
        return self.ready or self.anything or bool(named)

    def wakes(self, table: str) -> bool:
        """Whether there may be something to claim in this table."""
        return self.ready or table in self.ready_in

    def concerns(self, user_id: str) -> bool:
        return self.anything or user_id in self.users

    def encode(self, origin: str) -> str:
        """The payload of a notification to other processes, at most 8,000 bytes."""
        if len(self.users) + len(self.stopped) + len(self.ended) > _IDS_PER_NOTICE:
            is_ready = self.ready or bool(self.ready_in)
            return orjson.dumps({"origin": origin, "ready": is_ready, "anything": True}).decode()
        facts = {
            "origin": origin,
            "ready": self.ready,
            "ready_in": sorted(self.ready_in),
            "users": sorted(self.users),
            "stopped": sorted(self.stopped),
            "ended": sorted(self.ended),
            "configured": sorted(self.configured),
        }
        return orjson.dumps(facts).decode()

    @classmethod
    def decode(cls, payload: str) -> tuple[str, "News"]:
        """The origin and the news of a notification."""
        facts = orjson.loads(payload)
        news = cls(
            ready=facts["ready"],
            ready_in=set(facts.get("ready_in", ())),
            users=set(facts.get("users", ())),
            stopped=set(facts.get("stopped", ())),
            ended=set(facts.get("ended", ())),
            configured=set(facts.get("configured", ())),
            anything=facts.get("anything", False),
        )
        return facts["origin"], news


ANYTHING = News(ready=True, anything=True)


def news_of(session: Session) -> News:
    """The news that this transaction will announce when it commits; add to it."""
    news: News = session.info.setdefault("news", News())
    return news


class Noticeboard:
    """Hands news to whoever subscribed, in the order of subscription, on the event loop."""

    def __init__(self) -> None:
        self._listeners: list[Callable[[News], None]] = []
        self.closed = False

    def subscribe(self, listener: Callable[[News], None]) -> Callable[[], None]:
        """From now on `listener` hears all news; returns what ends the subscription."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def publish(self, news: News) -> None:
        """A listener that fails takes none of the others along, nor the write that is being announced."""
        for listener in tuple(self._listeners):
            try:
                listener(news)
            except Exception:
                log.exception("news.listener_failed")

    def close(self) -> None:
        """Tell every listener for the last time: the process is stopping, and open streams must end."""
        self.closed = True
        self.publish(ANYTHING)
