"""The keys under which credentials are encrypted: from the settings, or made once in the data folder.

Of several the first encrypts and all decrypt. Invariant: the file is only ever replaced as a whole, by whoever holds
the lock beside it, so two processes that start at once make one key, and no reader sees half a file.
"""

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from app.config import is_secret_key
from app.errors import StartRefused

_FILE = "secret.keys"
_OWNER_ONLY = 0o600


class KeyRing(Protocol):
    """Where the keys come from."""

    def read(self) -> Sequence[str]:
        """The encrypting one first. Reads files: off the event loop. Raises StartRefused."""
        ...

    def advance(self) -> bool:
        """Put a new key first, where that is ours to do; whether it was."""
        ...


class SettingsKeys:
    """LITEVAULT_SECRET_KEYS, the same for every process on one database."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._keys = tuple(keys)

    def read(self) -> Sequence[str]:
        return self._keys

    def advance(self) -> bool:
        """The operator puts the new key first."""
        return False


class FileKeys:
    """`secret.keys` in the data folder: one key a line, made when it is first needed. Old keys stay for old backups.

    With `only_reads` none is made: whoever looks and changes nothing may find none.
    """

    def __init__(self, data_dir: Path, *, only_reads: bool = False) -> None:
        self._path, self._only_reads = data_dir / _FILE, only_reads

    def read(self) -> Sequence[str]:
        stored = self._stored()
        return stored if stored or self._only_reads else self._make()

    def advance(self) -> bool:
        with self._locked():
            self._write([new_key(), *self._stored()])
        return True

    def _make(self) -> Sequence[str]:
        with self._locked():
            if not (keys := self._stored()):
                keys = [new_key()]
                self._write(keys)
            return keys

    def _stored(self) -> list[str]:
        """Empty when there is no file yet."""
        try:
            keys = self._path.read_text().split()
        except (FileNotFoundError, NotADirectoryError):
            return []
        except (OSError, UnicodeDecodeError):
            raise StartRefused(f"{self._path} cannot be read: give this user the right to, or restore it") from None
        if not keys or not all(is_secret_key(key) for key in keys):
            raise StartRefused(f"{self._path} holds something else than keys: restore it from a backup")
        return keys

    def _write(self, keys: Sequence[str]) -> None:
        try:
            self._replace_file(keys)
        except OSError as error:
            raise StartRefused(f"{self._path} cannot be written ({error.strerror}): nothing was changed") from None

    def _replace_file(self, keys: Sequence[str]) -> None:
        beside = self._path.with_name(f"{_FILE}.new")
        beside.unlink(missing_ok=True)
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _OWNER_ONLY)
        with os.fdopen(descriptor, "w") as file:
            file.write("".join(f"{key}\n" for key in keys))
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self._path)
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """The kernel frees the lock with its holder."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(
                self._path.with_name(f"{_FILE}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _OWNER_ONLY
            )
        except OSError as error:
            mend = "make the folder writable, or set LITEVAULT_SECRET_KEYS"
            raise StartRefused(f"{self._path} cannot be made ({error.strerror}): {mend}") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def new_key() -> str:
    from app.providers.credentials import fernet  # noqa: PLC0415 - see there

    return fernet.make_key()
