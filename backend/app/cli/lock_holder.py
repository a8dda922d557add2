"""Who works on a SQLite file: the process that holds its worker lock, looked up without taking the lock away."""

import fcntl
import os
from pathlib import Path

_LOCKS = Path("/proc/locks")


def holder_of(lock: Path) -> str | None:
    """None when the lock is free."""
    try:
        descriptor = os.open(lock, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        # Shared, so that two checks at a time do not see each other; a worker that loses against it tries again.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return _named(os.fstat(descriptor).st_ino)
    else:
        return None
    finally:
        os.close(descriptor)


def _named(inode: int) -> str:
    """Linux lists its locks as `1: FLOCK ADVISORY WRITE 4711 fd:01:123 0 EOF`; elsewhere nobody says who it is."""
    try:
        locks = [line.split() for line in _LOCKS.read_text().splitlines()]
    except OSError:
        locks = []
    for fields in locks:
        if len(fields) > 5 and fields[1] == "FLOCK" and fields[5].endswith(f":{inode}"):
            return f"process {fields[4]}"
    return "another process"
