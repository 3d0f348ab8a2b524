"""A lock between processes that no dead process can hold."""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

# Answers of file systems that cannot lock (some network mounts)
_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL}
_PAUSE = 0.1  # seconds


def _try_lock(descriptor: int) -> bool:
    """Takes the lock or says that another holds it. It ends with the descriptor, so also when the process dies."""
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError as error:
        if sys.platform == "win32" and error.errno == errno.EDEADLK:
            return False
        raise
    return True


def _unlock(descriptor: int) -> None:
    """Said aloud, since a process forked meanwhile keeps the descriptor open."""
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)
    else:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_UN)


@contextmanager
def file_lock(path: Path, on_wait: Callable[[], None] = lambda: None) -> Iterator[bool]:
    """Holds the lock that the file at `path` stands for, between threads and processes; gives True.

    Gives False, and locks nothing, on a file system without locks. Waits for as long as another holds the lock, and
    calls `on_wait` once before. The file itself stays, empty: removing it would let two in at once.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
    try:
        held, told = True, False
        try:
            while not _try_lock(descriptor):
                if not told:
                    on_wait()
                    told = True
                time.sleep(_PAUSE)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            held = False
        try:
            yield held
        finally:
            if held:
                _unlock(descriptor)
    finally:
        os.close(descriptor)
