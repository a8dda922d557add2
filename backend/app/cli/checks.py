"""The parts that `litevault check` looks at, each by a function from the settings to its findings."""

import json
import sqlite3
import tempfile
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from app.cli.finding import Finding
from app.cli.lock_holder import holder_of
from app.cli.migration import revision_of
from app.cli.model_checks import examine_model
from app.cli.routing_checks import examine_routing
from app.config import Settings
from app.database import Database
from app.database_fault import name_of, refusal_of
from app.errors import StartRefused
from app.migrations import known_revisions
from app.prompts.registry import PromptRegistry, as_in_files
from app.worker.worker_lock import lock_path

_PROBE_SECONDS = 2.0


async def examine(settings: Settings, *, live: bool) -> list[Finding]:
    """Everything, in the order in which a start would meet it."""
    findings = [*_examine_folder(settings)]
    findings += [finding async for finding in _examine_database(settings)]
    finding, prompts = _examine_prompts(settings)
    findings += [finding, *await examine_model(settings.llm, prompts, live=live), *await examine_routing(settings)]
    findings += [_examine_port(settings), _examine_worker(settings)]
    return findings


def _examine_folder(settings: Settings) -> list[Finding]:
    """Of the SQLite file; PostgreSQL needs none."""
    path = _sqlite_path(settings)
    if path is None:
        return []
    folder = path.parent
    variable = "LITEVAULT_DATABASE_URL" if settings.database_url else "LITEVAULT_DATA_DIR"
    nearest = next(place for place in (folder, *folder.parents) if place.exists())
    try:
        with tempfile.TemporaryFile(dir=nearest) as trial:
            trial.write(b"x" * 4096)
    except OSError as error:
        mend = f"make it writable, or set {variable} to a folder that is"
        return [
            Finding("data folder", f"{folder}: {nearest} cannot be written ({error.strerror}): {mend}", is_well=False)
        ]
    return [Finding("data folder", f"{folder} {'can be written' if nearest == folder else 'will be made at start'}")]


async def _examine_database(settings: Settings) -> AsyncIterator[Finding]:
    url = settings.resolved_database_url
    path = _sqlite_path(settings)
    try:
        revision = await revision_of(url)
        if path is not None and path.exists():
            _try_to_write(path, url)
    except StartRefused as refusal:
        yield Finding("database", str(refusal), is_well=False)
        yield Finding("migrations", "can be looked at when the database is there", is_well=None)
        return
    if path is not None and not path.exists():
        yield Finding("database", f"{name_of(url)}, will be made at start")
    else:
        yield Finding("database", name_of(url))
    yield _migrations(revision)


def _migrations(revision: str | None) -> Finding:
    newest, *older = known_revisions()
    if revision in (None, newest):
        return Finding("migrations", f"at {revision}, the newest" if revision else f"none yet; {newest} comes at start")
    if revision in older:
        return Finding("migrations", f"at {revision}, {newest} is needed: run litevault migrate", is_well=False)
    mend = f"at {revision}, which a newer release made: run that one, or update this one"
    return Finding("migrations", mend, is_well=False)


def _try_to_write(path: Path, url: str) -> None:
    """As a start would, but taken back. Raises StartRefused."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=_PROBE_SECONDS)) as file:
            file.isolation_level = None
            file.execute("BEGIN IMMEDIATE")
            file.execute("PRAGMA user_version = 0")
            file.execute("ROLLBACK")
    except sqlite3.Error as error:
        raise refusal_of(error, url) from None


def _examine_prompts(settings: Settings) -> tuple[Finding, PromptRegistry]:
    """Those that ship are returned where the operator's own are wrong, so that the model can be looked at."""
    own = f", with those of {settings.prompts_dir}" if settings.prompts_dir else ""
    try:
        prompts = as_in_files(settings.environment, settings.prompts_dir)
    except StartRefused as refusal:
        return Finding("prompts", str(refusal), is_well=False), as_in_files(settings.environment)
    return Finding("prompts", f"{len(prompts)} templates{own}"), prompts


def _examine_port(settings: Settings) -> Finding:
    from app.cli.server import listen  # noqa: PLC0415 - brings the whole application, which a check of settings needs last

    where = f"{settings.port} on {settings.host}"
    try:
        listen(settings.host, settings.port).close()
    except StartRefused as refusal:
        if _is_litevault(settings):
            return Finding("port", f"{where}: LiteVault serves there already")
        return Finding("port", str(refusal), is_well=False)
    return Finding("port", f"{where} is free")


def _is_litevault(settings: Settings) -> bool:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104 - read, not bound
    address = f"[{host}]" if ":" in host else host
    try:
        with urlopen(f"http://{address}:{settings.port}/openapi.json", timeout=_PROBE_SECONDS) as answer:
            return bool(json.load(answer)["info"]["title"] == "LiteVault")
    except (URLError, OSError, ValueError, KeyError, TypeError):
        return False


def _examine_worker(settings: Settings) -> Finding:
    path = _sqlite_path(settings)
    where = (
        "runs inside litevault serve"
        if settings.worker_enabled
        else "LITEVAULT_WORKER_ENABLED is false: run litevault worker"
    )
    if path is None:
        return Finding("worker", f"{where}; PostgreSQL takes any number of them")
    holder = holder_of(lock_path(path))
    if holder is None:
        return Finding("worker", f"{where}; the worker lock is free")
    return Finding("worker", f"the worker lock of {path} is held by {holder}; another worker stands by until it ends")


def _sqlite_path(settings: Settings) -> Path | None:
    return Database(settings.resolved_database_url).sqlite_path
