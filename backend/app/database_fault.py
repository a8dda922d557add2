"""Why a database cannot be used, in a sentence for whoever starts the program: the place, the fault, the mend.

A password never gets into a sentence: places are named by host, port and database, or by file.
"""

import socket
import sqlite3
from collections.abc import Iterator

import asyncpg
from sqlalchemy import URL, make_url
from sqlalchemy.exc import DBAPIError

from app.errors import NotReady

_VARIABLE = "LITEVAULT_DATABASE_URL"
# By SQLite's own names, up to where their details begin.
_SQLITE_FAULTS = {
    "SQLITE_CANTOPEN": "cannot be opened: look at the rights on it and its folder, or change LITEVAULT_DATA_DIR",
    "SQLITE_READONLY": "is read-only for this user: give it and its folder the right to write",
    "SQLITE_PERM": "may not be used by this user: mend its rights",
    "SQLITE_FULL": "has no room left on its disk: make some",
    "SQLITE_BUSY": "is locked by another program for too long: see who has it open",
    "SQLITE_NOTADB": "is no SQLite database: move it away, or change LITEVAULT_DATA_DIR",
    "SQLITE_CORRUPT": "is damaged: restore it from a backup",
    "SQLITE_IOERR": "cannot be read or written: its disk reports an error",
}


def name_of(url: str) -> str:
    """The database as people call it, without user and password."""
    return _name_of(make_url(url))


def _name_of(url: URL) -> str:
    if url.get_backend_name() == "sqlite":
        return f"SQLite, {url.database}"
    return f"PostgreSQL, {url.database or url.username} at {_place_of(url)}"


def refusal_of(error: BaseException, url: str) -> NotReady:
    """What to say of an error that using the database raised."""
    parsed = make_url(url)
    sentence = next(filter(None, (_sentence(cause, parsed) for cause in _causes(error))), None)
    return NotReady(sentence or f"{_name_of(parsed)}: cannot be used ({type(_last(error)).__name__})")


def _sentence(cause: BaseException, url: URL) -> str | None:
    if isinstance(cause, sqlite3.Error):
        name = getattr(cause, "sqlite_errorname", None) or ""
        known = next((words for start, words in _SQLITE_FAULTS.items() if name.startswith(start)), None)
        return known and f"{url.database} {known}"
    if isinstance(cause, asyncpg.PostgresError):
        return _refused_by_server(cause, url)
    if isinstance(cause, OSError):
        return f"PostgreSQL at {_place_of(url)} {_unreached(cause)}; start it, or mend {_VARIABLE}"
    return None


def _refused_by_server(cause: asyncpg.PostgresError, url: URL) -> str | None:
    place = f"PostgreSQL at {_place_of(url)}"
    if isinstance(cause, asyncpg.InvalidAuthorizationSpecificationError):
        return f"{place} does not let user {url.username} in: mend user and password in {_VARIABLE}"
    if isinstance(cause, asyncpg.InvalidCatalogNameError):
        return f"{place} has no database {url.database}: create it, or mend {_VARIABLE}"
    if isinstance(cause, asyncpg.InsufficientPrivilegeError):
        return f"{place}: user {url.username} may not change {url.database}: make it the owner of the database"
    if isinstance(cause, asyncpg.CannotConnectNowError):
        return f"{place} is still starting or stopping: try again in a moment"
    if isinstance(cause, asyncpg.TooManyConnectionsError):
        return f"{place} has no connection left: raise its max_connections, or run fewer processes"
    return None


def _unreached(cause: OSError) -> str:
    if isinstance(cause, socket.gaierror):
        return "has an unknown host name"
    if isinstance(cause, TimeoutError):
        return "does not answer"
    if isinstance(cause, ConnectionRefusedError):
        return "refuses the connection"
    return f"cannot be reached ({type(cause).__name__})"


def _place_of(url: URL) -> str:
    host = url.host or url.query.get("host") or "localhost"
    return f"{host if isinstance(host, str) else ', '.join(host)}:{url.port or url.query.get('port') or 5432}"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what it came from, the innermost driver's error included."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = (cause.orig if isinstance(cause, DBAPIError) else None) or cause.__cause__ or cause.__context__


def _last(error: BaseException) -> BaseException:
    return list(_causes(error))[-1]
