"""How many of a kind a person may make a day, UTC; exact under parallel requests.

The count is taken in the transaction of what is counted, by one conditional statement: what is rolled back
was not made.
"""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import cast

from sqlalchemy import Index, Integer, String, Table, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Mapped, Session, mapped_column

from app.clock import utc_now
from app.database import Base, UtcDateTime
from app.errors import DailyQuotaExceeded
from app.spending.budget import Period


class Counted(StrEnum):
    ITEMS = "items"
    QUERIES = "queries"


class QuotaCount(Base):
    """What a person made on a day. Kept only while there is a quota."""

    __tablename__ = "quota_counts"

    user_id: Mapped[str] = mapped_column(String(36), primary_key=True)
    kind: Mapped[str] = mapped_column(String(20), primary_key=True)
    day_start: Mapped[datetime] = mapped_column(UtcDateTime, primary_key=True)
    used: Mapped[int] = mapped_column(Integer)

    __table_args__ = (Index("ix_quota_counts_day_start", "day_start"),)


_COUNTS = cast("Table", QuotaCount.__table__)


def take_daily(session: Session, user_id: str, kind: Counted, limit: int) -> None:
    """Count one more; 0 is no limit, and counts nothing. Raises DailyQuotaExceeded."""
    if not limit:
        return
    day = Period.DAY.start(utc_now())
    dialect = sqlite if session.get_bind().dialect.name == "sqlite" else postgresql
    taking = (
        dialect.insert(_COUNTS)
        .values(user_id=user_id, kind=kind, day_start=day, used=1)
        .on_conflict_do_update(
            index_elements=["user_id", "kind", "day_start"],
            set_={"used": _COUNTS.c.used + 1},
            where=_COUNTS.c.used < limit,
        )
        .returning(_COUNTS.c.used)
    )
    if session.execute(taking).first() is None:
        whose = select(_COUNTS.c.used).where(
            _COUNTS.c.user_id == user_id, _COUNTS.c.kind == kind, _COUNTS.c.day_start == day
        )
        used = session.execute(whose).scalar_one()
        raise DailyQuotaExceeded(limit=limit, used=used, resets_at=day + timedelta(days=1))
