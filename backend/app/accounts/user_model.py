"""Users as they are stored. Who a user is comes from outside: `issuer` and `subject` name them together."""

from datetime import datetime
from typing import cast

from sqlalchemy import Boolean, CheckConstraint, String, Table, UniqueConstraint, bindparam, select, true
from sqlalchemy.orm import Mapped, Session, mapped_column

from app.accounts.privacy import Privacy, values_in_sql
from app.clock import utc_now
from app.database import Base, UtcDateTime, new_id


class User(Base):
    """A person with their profile and preferences."""

    __tablename__ = "users"

    id: Mapped[str] = mapped_column(String(36), primary_key=True, default=new_id)
    issuer: Mapped[str] = mapped_column(String(255))
    subject: Mapped[str] = mapped_column(String(255))
    email: Mapped[str | None] = mapped_column(String(320))
    display_name: Mapped[str | None] = mapped_column(String(100))
    nickname: Mapped[str | None] = mapped_column(String(50))
    avatar_url: Mapped[str | None] = mapped_column(String(2000))
    bio: Mapped[str | None] = mapped_column(String(500))
    default_language: Mapped[str] = mapped_column(String(35), default="en", server_default="en")
    timezone: Mapped[str] = mapped_column(String(64), default="UTC", server_default="UTC")
    ai_suggestions_enabled: Mapped[bool] = mapped_column(Boolean, default=True, server_default=true())
    default_privacy: Mapped[str] = mapped_column(String(10), default=Privacy.ANY, server_default=Privacy.ANY.value)
    plan: Mapped[str] = mapped_column(String(20), default="free", server_default="free")
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)

    __table_args__ = (
        UniqueConstraint("issuer", "subject"),
        CheckConstraint(f"default_privacy IN ({values_in_sql()})", name="default_privacy"),
    )


_USERS = cast("Table", User.__table__)
# Built once: it is asked before each call for a person.
_DEFAULT_PRIVACY = select(_USERS.c.default_privacy).where(_USERS.c.id == bindparam("user_id"))


def default_privacy(session: Session, user_id: str) -> Privacy:
    """How private this person's texts are where nobody says it of one."""
    return Privacy(session.connection().execute(_DEFAULT_PRIVACY, {"user_id": user_id}).scalar_one())
