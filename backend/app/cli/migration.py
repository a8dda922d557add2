"""`litevault migrate`: where the database was, and where it is now."""

import asyncio

from app.config import load_settings
from app.database import Database
from app.database_fault import name_of, refusal_of
from app.errors import ServiceUnavailable
from app.migrations import current_revision, migrate


def migrate_and_tell(revision: str) -> str:
    """One line. Raises StartRefused when the settings are wrong or the database cannot be used."""
    url = load_settings().resolved_database_url
    before = asyncio.run(revision_of(url))
    migrate(url, revision)
    after = asyncio.run(revision_of(url))
    if before == after:
        return f"{name_of(url)}: at {after}, nothing to do"
    return f"{name_of(url)}: {before or 'empty'} → {after}"


async def revision_of(url: str) -> str | None:
    """None when it was never migrated, or is a file that does not exist yet. Raises StartRefused when it is away."""
    database = Database(url)
    if database.sqlite_path is not None and not database.sqlite_path.exists():
        return None
    await database.start()
    try:
        return await current_revision(database)
    except ServiceUnavailable as error:
        raise refusal_of(error, url) from None
    finally:
        await database.close()
