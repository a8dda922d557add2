"""Gates and shares as they are stored. Nothing of a person is in them, and no key."""

from datetime import datetime

from sqlalchemy import BigInteger, Float, Index, Integer, String
from sqlalchemy.orm import Mapped, Session, mapped_column
from sqlalchemy.sql import func, select

from app.clock import utc_now
from app.database import Base, UtcDateTime


class LLMGate(Base):
    """A closed gate; none is open. `scope` is a digest of what was refused: name, address and key of the provider.

    While `probe_until` has not passed the process `probe_owner` finds out how things stand.
    """

    __tablename__ = "llm_gates"

    scope: Mapped[str] = mapped_column(String(64), primary_key=True)
    provider: Mapped[str] = mapped_column(String(100))
    code: Mapped[str] = mapped_column(String(40))
    http_status: Mapped[int | None] = mapped_column(Integer)
    wait_seconds: Mapped[float] = mapped_column(Float)
    opens_at: Mapped[datetime] = mapped_column(UtcDateTime)
    probe_owner: Mapped[str | None] = mapped_column(String(36))
    probe_until: Mapped[datetime | None] = mapped_column(UtcDateTime)

    __table_args__ = (Index("ix_llm_gates_opens_at", "opens_at"),)


class LLMShare(Base):
    """What a process holds of a provider's limit until `valid_until`, and a minute longer what it used of it.

    `unit`: requests or tokens. What it uses and waits for, and since when the first and the last do, is as it said.
    """

    __tablename__ = "llm_shares"

    provider: Mapped[str] = mapped_column(String(100), primary_key=True)
    process_id: Mapped[str] = mapped_column(String(36), primary_key=True)
    unit: Mapped[str] = mapped_column(String(10), primary_key=True)
    share: Mapped[int] = mapped_column(BigInteger)
    used: Mapped[int] = mapped_column(BigInteger)
    waiting: Mapped[int] = mapped_column(BigInteger)
    head: Mapped[int] = mapped_column(BigInteger)
    waiting_since: Mapped[datetime | None] = mapped_column(UtcDateTime)
    last_waiting_since: Mapped[datetime | None] = mapped_column(UtcDateTime)
    valid_until: Mapped[datetime] = mapped_column(UtcDateTime)

    __table_args__ = (Index("ix_llm_shares_valid_until", "valid_until"),)


def time_of(session: Session) -> datetime:
    """By the clock that all processes share: PostgreSQL's, or that of the one machine where the SQLite file lies."""
    if session.get_bind().dialect.name == "sqlite":
        return utc_now()
    now: datetime = session.scalars(select(func.clock_timestamp())).one()
    return now
