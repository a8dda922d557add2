"""`litevault credentials`: new encryption keys, and every stored credential under the newest."""

import asyncio

import typer

from app.config import load_settings
from app.database import Database
from app.database_fault import refusal_of
from app.errors import ServiceUnavailable
from app.migrations import migrate
from app.providers.credentials.rotation import Rotation, rotate
from app.providers.credentials.vault import Vault
from app.providers.from_settings import key_ring


def rotate_and_tell() -> int:
    """The exit code: 1 when a credential could not be read. Raises StartRefused."""
    settings = load_settings()
    url = settings.resolved_database_url
    migrate(url)
    rotation = asyncio.run(_rotate(url, Vault(key_ring(settings))))
    typer.echo(
        f"{rotation.total} credentials: {rotation.resealed} under the new key now, {rotation.unchanged} were already"
    )
    for name in rotation.unreadable:
        typer.echo(f"  cannot be read: {name}; add the key that it was stored under, or set its apiKey anew", err=True)
    return 1 if rotation.unreadable else 0


async def _rotate(url: str, vault: Vault) -> Rotation:
    database = Database(url)
    await database.start()
    try:
        return await rotate(database, vault, _tell)
    except ServiceUnavailable as error:
        raise refusal_of(error, url) from None
    finally:
        await database.close()


def _tell(rotation: Rotation) -> None:
    typer.echo(f"{rotation.done} of {rotation.total}")
