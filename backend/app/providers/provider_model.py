"""Providers as they are stored. A credential lies here sealed, and only in this column."""

from datetime import datetime
from typing import Any

from sqlalchemy import Boolean, CheckConstraint, Integer, String, Text, UniqueConstraint, false, text, true
from sqlalchemy.orm import Mapped, mapped_column

from app.clock import utc_now
from app.database import Base, JsonColumn, UtcDateTime, new_id
from app.providers.provider import HealthCheck, ProviderKind

_KINDS = tuple(kind for kind in ProviderKind if kind.can_be_registered)


class LLMProvider(Base):
    """A provider that an admin registered; `models` as they are on the wire, prices as exact decimal strings.

    `version` grows with each change that a client sees. `sealed_key` is bound to the id and the address: see
    providers/credentials/vault.py.
    """

    __tablename__ = "llm_providers"

    id: Mapped[str] = mapped_column(String(36), primary_key=True, default=new_id)
    name: Mapped[str] = mapped_column(String(50))
    kind: Mapped[str] = mapped_column(String(20))
    base_url: Mapped[str | None] = mapped_column(String(500))
    sealed_key: Mapped[str | None] = mapped_column(Text)
    key_changed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    is_local: Mapped[bool] = mapped_column(Boolean, default=False, server_default=false())
    is_enabled: Mapped[bool] = mapped_column(Boolean, default=True, server_default=true())
    requests_per_minute: Mapped[int | None] = mapped_column(Integer)
    tokens_per_minute: Mapped[int | None] = mapped_column(Integer)
    max_concurrency: Mapped[int | None] = mapped_column(Integer)
    health_check: Mapped[str] = mapped_column(String(20), default=HealthCheck.MODELS, server_default="models")
    models: Mapped[list[dict[str, Any]]] = mapped_column(JsonColumn, default=list, server_default=text("'[]'"))
    version: Mapped[int] = mapped_column(Integer, default=1, server_default=text("1"))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)

    __table_args__ = (
        UniqueConstraint("name"),
        CheckConstraint(f"kind IN ({', '.join(repr(str(kind)) for kind in _KINDS)})", name="kind"),
        CheckConstraint("(sealed_key IS NULL) = (key_changed_at IS NULL)", name="key"),
    )
