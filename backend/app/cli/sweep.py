"""`litevault sweep`: what the server does by itself every hour, now; or what it would do."""

import asyncio
from collections.abc import Mapping

import typer

from app.config import load_settings
from app.database import Database
from app.database_fault import refusal_of
from app.errors import ServiceUnavailable
from app.sweeps.retention import sweeps_of
from app.sweeps.sweeper import count_old, sweep_all


def sweep_and_tell(*, dry_run: bool) -> None:
    """Raises StartRefused."""
    rows = asyncio.run(_sweep(dry_run=dry_run))
    for name, count in rows.items():
        typer.echo(f"{count} {name}{' would go' if dry_run else ' are gone'}")


async def _sweep(*, dry_run: bool) -> Mapping[str, int]:
    settings = load_settings()
    url = settings.resolved_database_url
    database = Database(url)
    await database.start()
    try:
        return await (count_old if dry_run else sweep_all)(database, sweeps_of(settings))
    except ServiceUnavailable as error:
        raise refusal_of(error, url) from None
    finally:
        await database.close()
