"""How many questions a person may ask: a day, and at once; exact under parallel requests.

Queries and chat completions count together. A query under way is its row; a chat has a line of its own here, as long as
there is a quota, which whoever asks after `expires_at` no longer counts: then its process has died.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ForeignKey, Index, String, delete, func, literal_column, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from app.accounts.user_model import User
from app.clock import utc_now
from app.database import Base, UtcDateTime
from app.errors import ConcurrencyLimitExceeded
from app.queries.query_model import Query, QueryStatus
from app.spending.quotas import Counted, take_daily


@dataclass(frozen=True, slots=True)
class QueryQuota:
    """0 is no limit."""

    per_day: int = 0
    at_once: int = 0


UNLIMITED = QueryQuota()


class LiveChat(Base):
    """A chat completion under way."""

    __tablename__ = "live_chats"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"))
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)

    __table_args__ = (Index("ix_live_chats_user_id", "user_id"), Index("ix_live_chats_expires_at", "expires_at"))


def take(session: Session, user_id: str, quota: QueryQuota) -> None:
    """Count the question that this transaction has just noted as under way.

    Raises ConcurrencyLimitExceeded and DailyQuotaExceeded, which undo it.
    """
    take_daily(session, user_id, Counted.QUERIES, quota.per_day)
    if not quota.at_once:
        return
    # One at a time for each person on PostgreSQL; SQLite has one writer.
    session.execute(select(User.id).where(User.id == user_id).with_for_update(key_share=True))
    active = _under_way(session, user_id) - 1
    if active >= quota.at_once:
        raise ConcurrencyLimitExceeded(limit=quota.at_once, active=active)


def begin_chat(session: Session, user_id: str, quota: QueryQuota, *, chat_id: str, seconds: float) -> None:
    """Note a chat that takes no longer than that, and count it. Raises as `take`."""
    if quota.at_once:
        session.add(LiveChat(id=chat_id, user_id=user_id, expires_at=utc_now() + timedelta(seconds=seconds)))
        session.flush()
    take(session, user_id, quota)


def end_chat(session: Session, chat_id: str) -> None:
    """Safe to repeat."""
    session.execute(delete(LiveChat).where(LiveChat.id == chat_id))


def _under_way(session: Session, user_id: str) -> int:
    # A bound one would hide the partial index from the planner.
    running = Query.status == literal_column(f"'{QueryStatus.RUNNING}'")
    queries = select(func.count()).select_from(Query).where(Query.user_id == user_id, running)
    chats = select(func.count()).where(LiveChat.user_id == user_id, LiveChat.expires_at > utc_now())
    return session.execute(queries).scalar_one() + session.execute(chats).scalar_one()
