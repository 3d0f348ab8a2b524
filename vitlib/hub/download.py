"""Fetching a file by its URL into the cache: resumed, checked, and there whole or not at all."""

from __future__ import annotations

import hashlib
import math
import os
import re
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit

from .file_lock import file_lock
from .http import LastingError, PartialFile, PassingError, shown, transfer
from .progress import Progress

_PAUSES = (0.5, 1.0, 2.0, 4.0)  # seconds before each further attempt
_ENOUGH = 8 << 20  # an attempt that brought this much starts the pauses anew
_HASHED_NAME = re.compile(r"-([0-9a-f]{8})\.[A-Za-z0-9]+$")  # as torch.hub: the first digits of the SHA-256
_DATE = re.compile(r"(19|20)\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])")


class DownloadError(OSError):
    """Something could not be fetched. The text says what, why, and the ways out; secrets in a URL are left out."""


def default_cache_dir() -> Path:
    """`$XDG_CACHE_HOME/vitlib`, or `~/.cache/vitlib` where that variable is unset or not an absolute path."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "vitlib"


def cached_path(url: str, cache_dir: str | os.PathLike[str] | None = None) -> Path:
    """Where `download` keeps the file of this URL, whether it is there or not.

    The name is the URL's last part, in a directory named after a hash of the whole URL: Google's checkpoints of
    different kinds have the same names.
    """
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2].lower()
    digest = hashlib.sha256(f"{parts.scheme.lower()}://{host}{parts.path}?{parts.query}".encode()).hexdigest()
    name = re.sub(r"[^A-Za-z0-9._+=-]", "_", unquote(parts.path).rpartition("/")[2]).lstrip(".")[-120:]
    root = default_cache_dir() if cache_dir is None else Path(cache_dir).expanduser()
    return root / digest[:10] / (name or "file")


def download(
    url: str,
    *,
    cache_dir: str | os.PathLike[str] | None = None,
    sha256: str | None = None,
    progress: bool | None = None,
    timeout: float = 30.0,
) -> Path:
    """The file at `url`, from the cache or fetched into it.

    An interrupted download is retried a few times and, also by a later call, resumed where the server can continue the
    very same file. The name in the cache appears when the file is whole, checked and on the disk. Processes that want
    the same file wait for one another. Proxies are taken from the environment as urllib does; user and password may
    stand in the URL, and go to its server only.

    cache_dir: where files are kept; None: `default_cache_dir()`.
    sha256: what the file must have, as hex digits, the first 8 at least. Where it is not given, a name that ends like
    torch.hub's (`-df68dfff.pth`) says it. A file of another hash in the cache is fetched again.
    progress: None shows it on a terminal, True everywhere, False never.
    timeout: seconds of silence after which the server counts as gone; it also may not be slower than 1 KiB/s over that
    time.

    Raises DownloadError, and ValueError for a sha256 or a timeout that is none.
    """
    if not isinstance(timeout, (int, float)) or not math.isfinite(timeout) or timeout <= 0:
        raise ValueError(f"timeout={timeout!r}: expected a number of seconds above 0")
    if sha256 is not None and not re.fullmatch(r"[0-9a-fA-F]{8,64}", sha256):
        raise ValueError(f"sha256={sha256!r}: expected 8 to 64 hex digits")
    try:
        parts = urlsplit(url)
        usable = parts.scheme.lower() in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or re.search(r"[\x00-\x20\x7f]", url):
        raise DownloadError(
            f"{shown(url)} cannot be downloaded: expected an http or https URL with a host and without blanks; "
            "pass a local file by its path"
        )
    target = cached_path(url, cache_dir)
    expected = (sha256 or _hash_in_name(target.name)).lower()
    bar = Progress(target.name, progress)
    try:
        if _is_good(target, expected):
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        lock = target.with_name(f".{target.name}.lock")
        with file_lock(lock, lambda: bar.say(f"waiting for another process that is downloading {target.name}")) as held:
            # Without a lock each process works on a file of its own, which nobody can resume
            part = PartialFile(target.with_name(f".{target.name}.{'' if held else f'{os.getpid()}.'}part"))
            if not _is_good(target, expected):
                try:
                    _fetch(url, part, expected, bar, timeout)
                    _publish(part, target)
                finally:
                    bar.close()
                    if not held:
                        part.remove()
    except LastingError as error:
        raise DownloadError(_text(url, target, str(error))) from None
    except OSError as error:
        reason = f"{error.filename or target.parent} cannot be used: {error.strerror or error}"
        raise DownloadError(_text(url, target, f"{reason}; cache_dir=... chooses another place")) from error
    return target


def _fetch(url: str, part: PartialFile, expected: str, bar: Progress, timeout: float) -> None:
    attempts, failures, furthest = 0, 0, part.size()
    while True:
        attempts += 1
        try:
            resumed = transfer(url, part, timeout=timeout, hashed=bool(expected), progress=bar)
        except PassingError as error:
            size = part.size()
            if size >= furthest + _ENOUGH:  # grows with every reset, so that this ends
                failures, furthest = 0, size
            if failures == len(_PAUSES):
                kept = f"; {size} bytes are kept, and the next call resumes there" if part.resume_point()[0] else ""
                raise LastingError(f"{error} (attempt {attempts}, the last){kept}") from None
            pause = max(_PAUSES[failures], error.wait)
            failures += 1
            bar.say(f"{error}; trying again in {pause:g} s")
            time.sleep(pause)
            continue
        found = _sha256(part.path) if expected else ""
        if found.startswith(expected):
            return
        part.remove()
        if not resumed:
            raise LastingError(
                f"wrong SHA-256: found {found}, expected {expected}{'...' if len(expected) < 64 else ''}. The file was "
                "changed, here or on the way; sha256=... gives the right one if its name only looks like it held a hash"
            )


def _publish(part: PartialFile, target: Path) -> None:
    with open(part.path, "rb+") as file:
        os.fsync(file.fileno())
    os.replace(part.path, target)
    part.forget_note()
    if hasattr(os, "O_DIRECTORY"):  # makes the new name last; Windows does by itself
        descriptor = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
        with suppress(OSError):
            os.fsync(descriptor)
        os.close(descriptor)


def _hash_in_name(name: str) -> str:
    found = _HASHED_NAME.search(name)
    return found[1] if found and not _DATE.fullmatch(found[1]) else ""


def _is_good(path: Path, expected: str) -> bool:
    return path.is_file() and (not expected or _sha256(path).startswith(expected))


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while data := file.read(1 << 20):
            digest.update(data)
    return digest.hexdigest()


def _text(url: str, target: Path, reason: str) -> str:
    return (
        f"{shown(url)} could not be downloaded: {reason}. Ways out: another address that has the file (a mirror), or "
        f"download it by hand and pass its path, or put it at {target}, where it is looked for first."
    )
