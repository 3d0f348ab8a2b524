"""Fetching a model's files from Baidu AI Studio, whose repositories are Git's, behind the interface of Gitea.

Its own client brings Baidu's storage client, and reports each download; the requests that a download needs are made
here. Source: `aistudio_sdk` 0.3 (`snapshot_download.get_model_files`, `file_download`).
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from urllib.parse import quote, urlsplit

from .snapshot import Hub, RemoteFile, endpoint, fetch_snapshot, is_wanted, token
from .transfer import DownloadError

_VARIABLES = ("STUDIO_GIT_HOST", "AISTUDIO_ACCESS_TOKEN")
_ID = re.compile(r"[0-9a-f]{40}")
_MAX_PAGES = 20


def fetch_aistudio(
    repo_id: str, *, revision: str | None = None, cache_dir: str | os.PathLike[str] | None = None
) -> Path:
    """The directory that holds config.json, preprocessor_config.json and the weights of "org/name" on AI Studio.

    The files are chosen as by `fetch_hub`, all from one commit, and checked against the ids that Git has for their
    contents. When the hub cannot be reached, what has been fetched before is found again; a revision that is a commit
    is then not even asked for.

    revision: a branch, tag or commit; None: "master".
    cache_dir: where repositories are kept; None: vitlib's cache, as for `download`.
    `STUDIO_GIT_HOST` names another server, and `AISTUDIO_ACCESS_TOKEN` opens private repositories, as for AI Studio's
    own client.

    Raises DownloadError for whatever goes wrong on the way, and ValueError for a repo_id or a revision that is none.
    """
    key = token(_VARIABLES[1])
    address = endpoint(_VARIABLES[0], default="https://git.aistudio.baidu.com")
    hub = Hub("AI Studio", address, _VARIABLES, _list_files, {"Authorization": f"token {key}"} if key else {})
    return fetch_snapshot(hub, repo_id, revision or "master", cache_dir)


def _list_files(hub: Hub, repo_id: str, revision: str) -> Mapping[str, RemoteFile]:
    path = f"/api/v1/repos/{quote(repo_id)}"
    files: dict[str, RemoteFile] = {}
    try:
        if revision != "master" and not _ID.fullmatch(revision):
            with suppress(DownloadError):  # then it is a branch
                revision = hub.read_json(f"{path}/tags/{quote(revision, safe='')}")["commit"]["sha"]
        for page in range(1, _MAX_PAGES + 1):
            tree = hub.read_json(
                f"{path}/git/trees/{quote(revision, safe='')}?recursive=true&page={page}&per_page=1000"
            )
            revision = urlsplit(tree["url"]).path.rpartition("/")[2]  # the commit, from now on
            if not _ID.fullmatch(revision):
                raise DownloadError("the hub does not say the commit of its files")
            for entry in tree["tree"]:
                if entry["type"] == "blob" and is_wanted(entry["path"]):
                    url = f"{hub.endpoint}{path}/media/{quote(entry['path'], safe='')}?ref={revision}"
                    files[entry["path"]] = RemoteFile(url, entry["sha"], partial(_wrong_blob, entry["sha"]))
            if not tree.get("truncated"):
                return files
    except (KeyError, TypeError, AttributeError):
        raise DownloadError("the hub's answer is not a list of files with their Git ids") from None
    raise DownloadError("the hub's list of files does not end")


def _wrong_blob(blob: str, path: Path) -> str:
    """The mismatch between a file and the Git id of its contents, or of the Git LFS pointer to them; "" for none.

    Source: git-hash-object(1); docs/spec.md of Git LFS. AI Studio's client writes pointers without the last newline.
    """
    size = path.stat().st_size
    whole, content = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False), hashlib.sha256()
    with open(path, "rb") as file:
        while data := file.read(1 << 20):
            whole.update(data)
            content.update(data)
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{content.hexdigest()}\nsize {size}"
    for text in (pointer, f"{pointer}\n"):
        stored = hashlib.sha1(f"blob {len(text)}\0{text}".encode(), usedforsecurity=False)
        if blob in (whole.hexdigest(), stored.hexdigest()):
            return ""
    return f"wrong contents: {size} bytes of SHA-256 {content.hexdigest()} are not those of the commit (Git id {blob})"
