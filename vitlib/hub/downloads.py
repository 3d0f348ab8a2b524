"""Fetching a file by its URL into the cache: resumed, checked, and there whole or not at all."""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote, urlsplit

from .transfer import DownloadError, continue_file

Check = Callable[[Path], str]  # says what is wrong with the contents of a file; "" when nothing is
_PAUSES = (0.5, 1.0, 2.0, 4.0)  # seconds before each further attempt
_HASH_IN_NAME = re.compile(r"-(?!(?:19|20)\d{6}\.)([0-9a-f]{8})\.[A-Za-z0-9]+$")  # as torch.hub; no date


def download(
    url: str,
    *,
    cache_dir: str | os.PathLike[str] | None = None,
    sha256: str | None = None,
    progress: bool | None = None,
) -> Path:
    """The file at `url`, from the cache or fetched into it.

    It appears in the cache when it is whole and checked. An interrupted download is tried again and resumed, also by a
    later call, where the server can continue the same version. Processes that want the same file wait for one another
    if `filelock` is installed. httpx takes proxies from the environment. A URL's password goes to its host only.

    cache_dir: where files are kept; None: `$XDG_CACHE_HOME/vitlib`, or `~/.cache/vitlib`.
    sha256: the file's hash in hex, the first 8 digits at least; None: the digits in a name like torch.hub's
    (`-df68dfff.pth`). A cached file of another hash is fetched again.
    progress: a bar, if `tqdm` is installed: None on a terminal only, True everywhere, False never.

    Raises DownloadError, and ValueError for a sha256 that is none.
    """
    if sha256 is not None and not re.fullmatch(r"[0-9a-fA-F]{8,64}", sha256):
        raise ValueError(f"sha256={sha256!r}: expected 8 to 64 hex digits")
    parts = urlsplit("")
    with suppress(ValueError):
        parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or re.search(r"[\0- \x7f]", url):
        found = re.sub("//[^/]*@", "//", url.partition("?")[0])
        raise DownloadError(f"{found!r} is no http or https URL with a host and without blanks, nor a local file")
    host = parts.netloc.rpartition("@")[2].lower()
    # Google's checkpoints of different kinds have the same names, so the directory stands for the whole URL
    folder = hashlib.sha256(f"{parts.scheme}://{host}{parts.path}?{parts.query}".encode()).hexdigest()[:10]
    name = re.sub(r"[^A-Za-z0-9._+=-]", "_", unquote(parts.path).rpartition("/")[2]).lstrip(".")[-120:] or "file"
    target = cache_root(cache_dir) / folder / name
    expected = (sha256 or "".join(_HASH_IN_NAME.findall(name))).lower()
    try:
        fetch_file(url, target, lambda path: wrong_sha256(expected, path), {}, progress)
    except DownloadError as error:
        raise DownloadError(
            f"{parts.scheme}://{host}{parts.path} could not be downloaded: {error}. Ways out: a mirror's URL; or fetch "
            f"it by hand and pass its path, or put it at {target}, where it is looked for first."
        ) from error.__cause__
    return target


def cache_root(cache_dir: str | os.PathLike[str] | None = None) -> Path:
    base = os.environ.get("XDG_CACHE_HOME", "")  # its specification has relative paths ignored
    return Path(cache_dir or f"{base if os.path.isabs(base) else '~/.cache'}/vitlib").expanduser()


def fetch_file(url: str, target: Path, wrong: Check, headers: Mapping[str, str], progress: bool | None = None) -> None:
    """Fetches `target` unless it is there and nothing is `wrong` with it. Raises DownloadError with the bare reason."""
    try:
        if target.is_file() and not wrong(target):
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        with _lock(target.with_name(f".{target.name}.lock")) as resumable:
            if target.is_file() and not wrong(target):  # another process was quicker
                return
            part = target.with_name(f".{target.name}{'' if resumable else '.' + os.urandom(4).hex()}.part")
            try:
                _complete(part, url, headers, lambda *sizes: _bar(target.name, progress, *sizes))
                reason, resumable = wrong(part), None
                if reason:
                    raise DownloadError(reason)
                os.replace(part, target)
            finally:
                for path in () if resumable else (part, part.with_suffix(".validator")):
                    path.unlink(missing_ok=True)
    except (DownloadError, ConnectionError) as error:
        raise DownloadError(str(error)) from None
    except OSError as error:
        ours = target.is_relative_to(cache_root())  # nobody gave a cache_dir
        way_out = "set XDG_CACHE_HOME to a directory that can be written" if ours else "give another cache_dir"
        reason = f"{error.filename or target.parent} cannot be used: {error.strerror or error}; {way_out}"
        raise DownloadError(reason) from error


def _complete(part: Path, url: str, headers: Mapping[str, str], bar: Any) -> None:
    for pause in _PAUSES:
        with suppress(ConnectionError):
            return continue_file(part, url, headers, bar)
        time.sleep(pause)
    return continue_file(part, url, headers, bar)


def wrong_sha256(expected: str, path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while expected and (data := file.read(1 << 20)):
            digest.update(data)
    return "" if (found := digest.hexdigest()).startswith(expected) else f"found SHA-256 {found}, expected {expected}"


def _lock(path: Path) -> Any:
    """A context manager that gives the lock, or None without filelock or on a file system without locks."""
    with suppress(ImportError, NotImplementedError, OSError):
        from filelock import FileLock

        return FileLock(path).acquire()
    return nullcontext()


def _bar(name: str, on: bool | None, done: int, total: int | None) -> Any:
    with suppress(ImportError, AttributeError):  # the second where there is no standard error
        from tqdm import tqdm

        return tqdm(None, name, total, initial=done, unit="B", unit_scale=True, disable=None if on is None else not on)
    return nullcontext(SimpleNamespace(update=lambda count: None))
