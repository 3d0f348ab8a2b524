"""Repositories of hubs that are asked over plain HTTP, kept in vitlib's own cache."""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from ..checkpoint.atomic import write_atomically
from ..checkpoint.file_names import INDEX_ENDING, WEIGHT_ENDINGS
from .downloads import Check, cache_root, fetch_file
from .repository import CONFIGS, check_repo_id, fetch_all, is_complete
from .transfer import DownloadError, open_url

_MAX_JSON = 32 << 20  # bytes
_PAUSE = 0.5  # seconds before the second and last time that a hub is asked


@dataclass(frozen=True)
class RemoteFile:
    """A file of a repository, whose digest is equal for equal contents."""

    url: str
    digest: str
    wrong: Check


@dataclass(frozen=True)
class Hub:
    """A hub and the way to ask it.

    variables: the environment variables for its address and for a token.
    list_files: (hub, repo_id, revision) -> the files that `is_wanted` names.
    """

    name: str
    endpoint: str
    variables: tuple[str, str]
    list_files: Callable[[Hub, str, str], Mapping[str, RemoteFile]]
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    def read_json(self, path: str) -> Any:
        """The hub's answer. Raises ConnectionError where it does not, DownloadError where it refuses."""
        try:
            body = self._read(path)
        except ConnectionError:
            time.sleep(_PAUSE)
            body = self._read(path)
        try:
            return json.loads(body)
        except (ValueError, RecursionError):
            raise DownloadError("the hub's answer is no JSON") from None

    def _read(self, path: str) -> bytearray:
        body = bytearray()
        with open_url(f"{self.endpoint}{path}", self.headers) as response:
            for data in response.iter_raw():
                body += data
                if len(body) > _MAX_JSON:
                    raise DownloadError(f"the hub's answer is longer than {_MAX_JSON >> 20} MiB")
        return body


def endpoint(*variables: str, default: str) -> str:
    """The first address that an environment variable gives, else the default; without a scheme it is an https one."""
    address = next(filter(None, (os.environ.get(name, "").strip() for name in variables)), default)
    return (address if "://" in address else f"https://{address}").rstrip("/")


def token(variable: str) -> str:
    """The token in an environment variable, or ""."""
    value = os.environ.get(variable, "").strip()
    if not re.fullmatch(r"[!-~]*", value):
        raise DownloadError(f"the value of {variable} cannot be a token")
    return value


def fetch_snapshot(hub: Hub, repo_id: str, revision: str, cache_dir: str | os.PathLike[str] | None) -> Path:
    """The directory with the configs and weights of a repository, as they are now or, without a network, were last.

    It lies at host/org--name/snapshot below the cache, where the snapshot's name is a hash of what it holds. Where org
    or name have "--" themselves, "%2F" stands between them, so that no two repositories share a directory.
    """
    check_repo_id(repo_id)
    if not re.fullmatch(r"\w[\w./+-]{0,99}", revision):
        raise ValueError(f"revision={revision!r}: expected a branch, tag or commit")
    host = re.sub(r"[^A-Za-z0-9.-]", "_", urlsplit(hub.endpoint).netloc.rpartition("@")[2])
    root = cache_root(cache_dir) / host / repo_id.replace("/", "%2F" if "--" in repo_id else "--")
    ref = root / f"{quote(revision, safe='')}.ref"
    if re.fullmatch(r"[0-9a-f]{40}", revision) and (known := _recorded(ref)):  # a commit never changes
        return known
    try:
        files = hub.list_files(hub, repo_id, revision)
        contents = "\n".join(f"{name} {file.digest}" for name, file in sorted(files.items()))
        directory = root / hashlib.sha256(contents.encode()).hexdigest()[:40]

        def fetch(name: str) -> Path:
            if name not in files:
                raise DownloadError(f"its index names {name!r}, which the repository does not have")
            if not (directory / name).is_file():  # what is there has been checked
                fetch_file(files[name].url, directory / name, files[name].wrong, hub.headers)
            return directory / name

        fetch_all(files, fetch)
    except ConnectionError as error:
        if known := _recorded(ref):
            return known
        raise DownloadError(_text(hub, repo_id, revision, f"it is not in the cache, and {error}")) from None
    except DownloadError as error:
        raise DownloadError(_text(hub, repo_id, revision, str(error))) from error.__cause__
    with suppress(OSError), write_atomically(ref) as file:  # of use without a network only
        file.write(directory.name.encode())
    return directory


def is_wanted(name: str) -> bool:
    """Whether a file at the top of a repository may be one that is fetched."""
    plain = re.fullmatch(r"\w[^/\\:\0-\x1f]*", name)
    return bool(plain) and (name in CONFIGS or name.endswith((*WEIGHT_ENDINGS, INDEX_ENDING)))


def _recorded(ref: Path) -> Path | None:
    """The directory that an earlier call noted, if it is complete."""
    with suppress(OSError, ValueError):
        directory = ref.parent / ref.read_text()
        if re.fullmatch(r"[0-9a-f]{40}", directory.name) and is_complete(directory):
            return directory
    return None


def _text(hub: Hub, repo_id: str, revision: str, reason: str) -> str:
    address, secret = hub.variables
    return (
        f"{repo_id} could not be fetched from {hub.name}: {reason}. Ways out: check the name and the revision "
        f"{revision!r}; {secret} for a private repository; {address} for another server; or its files downloaded "
        "by hand into a directory, whose path is passed instead."
    )
