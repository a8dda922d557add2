"""The one worker of a SQLite file: a lock beside the database that the kernel frees when its holder dies.

Whoever gets it knows that no other worker lives, so every lease in the database is a dead one's.
"""

import fcntl
import os
from pathlib import Path


def lock_path(database_path: Path) -> Path:
    return database_path.with_name(database_path.name + ".worker.lock")


class WorkerLock:
    """An exclusive lock on `<database>.worker.lock`."""

    def __init__(self, database_path: Path) -> None:
        self._path = lock_path(database_path)
        self._descriptor: int | None = None

    def try_acquire(self) -> bool:
        """Whether the lock is ours now; safe to repeat. Raises OSError where no lock can be had by anyone."""
        if self._descriptor is not None:
            return True
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            if isinstance(error, BlockingIOError):
                return False
            raise
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
