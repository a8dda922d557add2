"""Who is calling: from the headers of a request to the id of a user.

Development knows a person by X-Dev-User-Id alone. API keys and JWT join here: each is one more way from a
header to `(issuer, subject)`, and `user_id_for` does the rest.
"""

from typing import Annotated

import structlog
from fastapi import Depends, Request
from fastapi.security import APIKeyHeader
from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from app.accounts.user_model import User
from app.clock import utc_now
from app.database import Database, new_id
from app.errors import Unauthorized

DEV_HEADER = "X-Dev-User-Id"
DEV_ISSUER = "dev"
_MAX_DEV_ID = 64
_MAX_KNOWN = 10_000

_dev_header = APIKeyHeader(
    name=DEV_HEADER, auto_error=False, description="1-64 printable characters; development only."
)


class Identity:
    """Finds the user behind a caller; makes the user's row when the caller is seen for the first time."""

    def __init__(self, database: Database, *, dev_auth: bool) -> None:
        self._database = database
        self._dev_auth = dev_auth
        self._known: dict[tuple[str, str], str] = {}

    async def user_id_of(self, dev_id: str | None) -> str:
        """Raises Unauthorized when nothing in the request says who is calling, or it may not say it so."""
        if dev_id is None:
            raise Unauthorized
        dev_id = _as_written(dev_id)
        if not self._dev_auth:
            raise Unauthorized(f"{DEV_HEADER} is not taken by this server.")
        if not 1 <= len(dev_id) <= _MAX_DEV_ID or not dev_id.isprintable():
            raise Unauthorized(f"{DEV_HEADER} must be 1 to {_MAX_DEV_ID} printable characters.")
        return await self.user_id_for(DEV_ISSUER, dev_id)

    async def user_id_for(self, issuer: str, subject: str) -> str:
        """The user whom `issuer` calls `subject`; parallel first requests make one row."""
        known = self._known.get((issuer, subject))
        if known is not None:
            return known
        user_id = await self._database.read(lambda session: _find_user_id(session, issuer, subject))
        if user_id is None:
            user_id = await self._database.write(lambda session: _ensure_user(session, issuer, subject))
        if len(self._known) >= _MAX_KNOWN:
            self._known.clear()
        self._known[issuer, subject] = user_id
        return user_id


def _as_written(header: str) -> str:
    """Headers arrive as if they were Latin-1; what people and programs send today is UTF-8."""
    try:
        return header.encode("latin-1").decode()
    except UnicodeError:
        return header


async def _current_user_id(request: Request, dev_id: Annotated[str | None, Depends(_dev_header)]) -> str:
    identity: Identity = request.app.state.identity
    user_id = await identity.user_id_of(dev_id)
    structlog.contextvars.bind_contextvars(user_id=user_id)
    return user_id


CurrentUserId = Annotated[str, Depends(_current_user_id)]


def _find_user_id(session: Session, issuer: str, subject: str) -> str | None:
    return session.scalar(select(User.id).where(User.issuer == issuer, User.subject == subject))


def _ensure_user(session: Session, issuer: str, subject: str) -> str:
    insert = sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert
    now = utc_now()
    row = {"id": new_id(), "issuer": issuer, "subject": subject, "created_at": now, "updated_at": now}
    session.execute(insert(User).values(row).on_conflict_do_nothing())
    found = _find_user_id(session, issuer, subject)
    assert found is not None  # noqa: S101 - ours or the winner's: a conflict waits for the other's commit
    return found
