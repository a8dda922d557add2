"""What an admin does with providers, each inside the caller's transaction; the registry hears of it by the news.

A key is sealed before the transaction, for the provider and the address that it was given for. Whoever changes the
address must give the key again: it would else be sent to somebody whom its owner never meant.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.announcements import news_of
from app.clock import utc_now
from app.cursors import decode_cursor, encode_cursor
from app.errors import InvalidInput, NameTaken, NotFound, VersionConflict
from app.providers.provider import ProviderKind, origin_of
from app.providers.provider_model import LLMProvider
from app.providers.schemas import ProviderForm, ProviderReplace

# The part of the configuration in the database whose changes are announced here.
PROVIDERS = "providers"
_OF_THE_FORM = tuple(ProviderForm.model_fields)


@dataclass(frozen=True, slots=True)
class SealedKey:
    """What becomes of the key: `sealed` null takes it away."""

    sealed: str | None


def address_of(form: ProviderForm) -> str:
    """Where calls and the key would go. Raises InvalidInput for a kind that has no address of its own."""
    address = form.base_url or ProviderKind(form.kind).vendors_address
    if address is None:
        raise InvalidInput("baseUrl: is needed for this kind.", {"field": "baseUrl", "rule": "missing"})
    return address


def create_provider(session: Session, *, provider_id: str, form: ProviderForm, key: SealedKey) -> LLMProvider:
    """Raises NameTaken."""
    provider = LLMProvider(id=provider_id, **_columns(form))
    _set_key(provider, key)
    session.add(provider)
    return _flushed(session, provider)


def replace_provider(
    session: Session, *, provider_id: str, form: ProviderReplace, key: SealedKey | None
) -> LLMProvider:
    """`key` null keeps the one that is there. Raises NotFound, VersionConflict, NameTaken, InvalidInput."""
    provider = find_provider(session, provider_id, for_change=True)
    if provider.version != form.version:
        raise VersionConflict(details={"version": provider.version})
    old_origin = _origin_if_known(provider)
    for column, value in _columns(form).items():
        setattr(provider, column, value)
    if key is not None:
        _set_key(provider, key)
    elif provider.sealed_key is not None and stored_origin(provider) != old_origin:
        raise InvalidInput(
            "apiKey: give the key again, or null: it was given for another address.",
            {"field": "apiKey", "rule": "needed_again"},
        )
    provider.version += 1
    provider.updated_at = utc_now()
    return _flushed(session, provider)


def delete_provider(session: Session, provider_id: str) -> None:
    """Calls under way end as they began; those after them do not find it. Raises NotFound."""
    session.delete(find_provider(session, provider_id, for_change=True))
    news_of(session).configured.add(PROVIDERS)


def find_provider(session: Session, provider_id: str, *, for_change: bool = False) -> LLMProvider:
    """Raises NotFound."""
    query = select(LLMProvider).where(LLMProvider.id == provider_id)
    provider = session.scalar(query.with_for_update() if for_change else query)
    if provider is None:
        raise NotFound("There is no provider with this id.")
    return provider


def providers_page(session: Session, *, cursor: str | None, limit: int) -> tuple[Sequence[LLMProvider], str | None]:
    """Some providers by name, and the cursor that goes on from there; null at the end."""
    query = select(LLMProvider).order_by(LLMProvider.name)
    if cursor is not None:
        query = query.where(LLMProvider.name > decode_cursor(cursor, 1)[0])
    found = session.scalars(query.limit(limit + 1)).all()
    return found[:limit], encode_cursor(found[limit - 1].name) if len(found) > limit else None


def stored_origin(provider: LLMProvider) -> str:
    """Whom the key was given for."""
    return origin_of(provider.base_url or ProviderKind(provider.kind).vendors_address or "")


def _origin_if_known(provider: LLMProvider) -> str | None:
    """None for a kind that this release does not know: then nobody can say whom the key was given for."""
    try:
        return stored_origin(provider)
    except ValueError:
        return None


def _columns(form: ProviderForm) -> dict[str, Any]:
    values = form.model_dump(include=set(_OF_THE_FORM))
    return {**values, "models": [model.model_dump(by_alias=True, exclude_none=True) for model in form.models]}


def _set_key(provider: LLMProvider, key: SealedKey) -> None:
    provider.sealed_key = key.sealed
    provider.key_changed_at = utc_now() if key.sealed else None


def _flushed(session: Session, provider: LLMProvider) -> LLMProvider:
    try:
        session.flush()
    except IntegrityError:
        raise NameTaken("Another provider has this name already.") from None
    news_of(session).configured.add(PROVIDERS)
    return provider
