"""The routes of the providers: operators see them, admins change them."""

import asyncio
from functools import partial
from typing import Annotated

import structlog
from fastapi import APIRouter, Depends, Query, Request
from pydantic import SecretStr

from app.accounts.roles import Role, requires
from app.database import new_id
from app.errors import InvalidInput, NotFound, ServiceUnavailable, StartRefused
from app.providers import presentation, service
from app.providers.access import ProviderAccess
from app.providers.addresses import AddressRefusal
from app.providers.from_settings import RESERVED
from app.providers.provider import origin_of
from app.providers.schemas import (
    Pagination,
    ProviderCreate,
    ProviderForm,
    ProviderOut,
    ProviderReplace,
    ProvidersOut,
    ProviderStatusOut,
)
from app.providers.service import SealedKey
from app.web import DatabaseOf, Id, Text, declared_errors

log = structlog.get_logger()
router = APIRouter(
    prefix="/llm/providers",
    tags=["providers"],
    dependencies=[requires(Role.OPERATOR)],
    responses=declared_errors(403),
)
_ADMIN = [requires(Role.ADMIN)]


async def _access_of(request: Request) -> ProviderAccess:
    access: ProviderAccess = request.app.state.providers
    return access


AccessOf = Annotated[ProviderAccess, Depends(_access_of)]


@router.get("", responses=declared_errors(400))
async def list_providers(
    database: DatabaseOf,
    access: AccessOf,
    *,
    cursor: Annotated[Text | None, Query(max_length=1000)] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> ProvidersOut:
    """Those in the database, by name, and all that come from the settings."""
    found, next_cursor = await database.read(partial(service.providers_page, cursor=cursor, limit=limit))
    shown, unreadable = presentation.providers_out(found)
    return ProvidersOut(
        providers=shown,
        unreadable=unreadable,
        from_settings=presentation.settings_providers_out(access.registry),
        pagination=Pagination(cursor=next_cursor, has_more=next_cursor is not None),
    )


@router.post("", status_code=201, dependencies=_ADMIN, responses=declared_errors(400, 409))
async def create_provider(body: ProviderCreate, database: DatabaseOf, access: AccessOf) -> ProviderOut:
    """Calls may go there as soon as this is answered."""
    await _check(body, access)
    provider_id = new_id()
    key = await _seal(body.api_key, provider_id, body, access)
    provider = await database.write(partial(service.create_provider, provider_id=provider_id, form=body, key=key))
    await access.registry.refresh()
    return presentation.provider_out(provider)


@router.get("/{provider_id}", responses=declared_errors(404))
async def get_provider(provider_id: Id, database: DatabaseOf) -> ProviderOut:
    """One from the database."""
    return presentation.provider_out(await database.read(partial(service.find_provider, provider_id=provider_id)))


@router.put("/{provider_id}", dependencies=_ADMIN, responses=declared_errors(400, 404, 409))
async def replace_provider(
    provider_id: Id, body: ProviderReplace, database: DatabaseOf, access: AccessOf
) -> ProviderOut:
    """All of it anew but for the key, which stays where `apiKey` is left out; calls under way end as they began."""
    await database.read(partial(service.find_provider, provider_id=provider_id))
    await _check(body, access)
    key = await _seal(body.api_key, provider_id, body, access) if body.says_key else None
    provider = await database.write(partial(service.replace_provider, provider_id=provider_id, form=body, key=key))
    await access.registry.refresh()
    return presentation.provider_out(provider)


@router.delete("/{provider_id}", status_code=204, dependencies=_ADMIN, responses=declared_errors(404))
async def delete_provider(provider_id: Id, database: DatabaseOf, access: AccessOf) -> None:
    """Its credential goes with it; calls under way end as they began. One of the settings with its name is back."""
    await database.write(partial(service.delete_provider, provider_id=provider_id))
    await access.registry.refresh()


@router.get("/{provider_id}/status", responses=declared_errors(404))
async def get_provider_status(provider_id: Id, database: DatabaseOf, access: AccessOf) -> ProviderStatusOut:
    """How it does, seen from this process; by id, or by name for those of the settings."""
    found = access.registry.snapshot().get(provider_id)
    if found is None:
        name = (await database.read(partial(service.find_provider, provider_id=provider_id))).name
        # Another process may have made it a moment ago.
        await access.registry.refresh()
        found = access.registry.snapshot().get(name)
    if found is None:
        raise NotFound("There is no provider with this id.")
    traffic = access.traffic.traffic_of(found.name) if access.traffic else None
    return presentation.status_out(found, access.monitor.health_of(found.name), traffic)


async def _check(form: ProviderForm, access: ProviderAccess) -> None:
    """What no schema can say. Raises InvalidInput."""
    if form.name in RESERVED:
        raise InvalidInput("name: this one is LiteVault's own.", {"field": "name", "rule": "reserved"})
    if len({model.name for model in form.models}) < len(form.models):
        raise InvalidInput("models: a model is named twice.", {"field": "models", "rule": "duplicate"})
    address = service.address_of(form)
    try:
        await access.check_address(address)
    except AddressRefusal as refusal:
        raise InvalidInput(f"baseUrl: {refusal}.", {"field": "baseUrl", "rule": refusal.rule}) from None
    if form.is_local and not access.is_operators_own(address):
        sentence = "isLocal: the operator must name its host in LITEVAULT_LLM_ALLOWED_HOSTS."
        raise InvalidInput(sentence, {"field": "isLocal", "rule": "not_local"})


async def _seal(key: SecretStr | None, provider_id: str, form: ProviderForm, access: ProviderAccess) -> SealedKey:
    """In a thread: the encryption keys are in a file. Raises ServiceUnavailable when they cannot be had."""
    if key is None:
        return SealedKey(None)
    origin = origin_of(service.address_of(form))
    try:
        sealed = await asyncio.to_thread(access.vault.seal, key, provider_id=provider_id, origin=origin)
    except StartRefused as refusal:
        log.error("provider.key_not_sealed", why=str(refusal))  # noqa: TRY400 - its sentence says all
        raise ServiceUnavailable("Keys cannot be stored: the server's encryption key cannot be had.") from None
    return SealedKey(sealed)
