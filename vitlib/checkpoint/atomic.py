"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO

TEMPORARY_PREFIX = ".vitlib-"
TEMPORARY_SUFFIX = ".partial"


@contextmanager
def write_atomically(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Gives a binary file to write that takes the name `path` when the block ends without an exception.

    Until then an older file of that name stays as it is. The new one lies in the same directory under a name of its
    own (`.vitlib-*.partial`): that is what remains when the process is killed, and nothing else. The data and the
    new name are on the disk (fsync) when the block has been left. A symbolic link is kept, and its target replaced. The
    new file has the mode of the old one, and its owner and group where the system permits that.

    Raises OSError, as the system says and of `path`, when the disk is full or the directory is missing or closed to us;
    the temporary file is then removed. Raises it, too, for what is there and no file: a directory, device or pipe.
    """
    given = os.fspath(path)
    path = os.path.realpath(given)
    directory = os.path.dirname(path)
    if os.path.isdir(path):
        raise IsADirectoryError(f"{path} is a directory; give the name of a file")
    temporary = os.path.join(directory, f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}{TEMPORARY_SUFFIX}")
    old = os.stat(path) if os.path.exists(path) else None
    if old is not None and not stat.S_ISREG(old.st_mode):
        raise OSError(f"{given} is a device or a pipe, which cannot be replaced; give the name of a file")
    mode = 0o666 if old is None else old.st_mode & 0o777
    # Not tempfile: it makes files that only their owner can read, whatever the umask says
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
    try:
        descriptor = os.open(temporary, flags, mode)
        with os.fdopen(descriptor, "w+b") as file:
            if old is not None:
                with suppress(AttributeError, OSError):  # not on Windows, and to another owner only as root
                    os.chown(temporary, old.st_uid, old.st_gid)
                os.chmod(temporary, mode)
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError) and error.errno is not None and error.filename in (None, temporary):
            error.filename = given  # nobody knows the temporary file
        raise
    _sync_directory(directory)


def write_through(file: BinaryIO, data: bytes) -> None:
    """Write bytes that are on the disk when this returns. Raises OSError when it is full."""
    file.write(data)
    file.flush()
    os.fsync(file.fileno())


def _sync_directory(directory: str) -> None:
    """Makes the new name last; systems that cannot open a directory (Windows) keep names by themselves."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        # Some network file systems refuse to sync directories; the file itself is safe by then
        with suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
