"""The routes of a person's own profile and preferences."""

from functools import partial
from typing import Any

from fastapi import APIRouter
from sqlalchemy.orm import Session

from app.accounts.identity import CurrentUserId
from app.accounts.profile_schemas import PreferencesOut, PreferencesPatch, ProfileOut, ProfilePatch
from app.accounts.user_model import User
from app.clock import utc_now
from app.errors import Unauthorized
from app.web import DatabaseOf

router = APIRouter(prefix="/auth/me", tags=["profile"])


@router.get("")
async def get_profile(user_id: CurrentUserId, database: DatabaseOf) -> ProfileOut:
    """Who is calling."""
    return await database.read(lambda session: _present(_own_user(session, user_id)))


@router.patch("/profile")
async def change_profile(body: ProfilePatch, user_id: CurrentUserId, database: DatabaseOf) -> ProfileOut:
    """Change what others may see of the person."""
    return await database.write(partial(_change, user_id=user_id, values=body.model_dump(exclude_unset=True)))


@router.patch("/preferences")
async def change_preferences(body: PreferencesPatch, user_id: CurrentUserId, database: DatabaseOf) -> ProfileOut:
    """Change how LiteVault works for the person."""
    return await database.write(partial(_change, user_id=user_id, values=body.model_dump(exclude_none=True)))


def _change(session: Session, user_id: str, values: dict[str, Any]) -> ProfileOut:
    user = _own_user(session, user_id, for_change=True)
    for field, value in values.items():
        setattr(user, field, (value.strip() or None) if isinstance(value, str) else value)
    if session.is_modified(user):
        user.updated_at = utc_now()
        session.flush()
    return _present(user)


def _own_user(session: Session, user_id: str, *, for_change: bool = False) -> User:
    """Raises Unauthorized when the user was deleted after this process had seen them."""
    user = session.get(User, user_id, with_for_update={"key_share": True} if for_change else None)
    if user is None:
        raise Unauthorized
    return user


def _present(user: User) -> ProfileOut:
    return ProfileOut(
        id=user.id,
        email=user.email,
        display_name=user.display_name,
        nickname=user.nickname,
        avatar_url=user.avatar_url,
        bio=user.bio,
        preferences=PreferencesOut.model_validate(user),
        plan=user.plan,
        created_at=user.created_at,
        updated_at=user.updated_at,
    )
