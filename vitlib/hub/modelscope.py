"""Fetching a model's files from ModelScope.

Its own client brings 25 MB of packages for uploads and agents; the two requests that a download needs are made here.
Source: `modelscope_hub` 0.5 (`_legacy_api.list_repo_files`, `get_download_url`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from urllib.parse import quote

from .downloads import wrong_sha256
from .snapshot import Hub, RemoteFile, endpoint, fetch_snapshot, is_wanted, token
from .transfer import DownloadError

_VARIABLES = ("MODELSCOPE_ENDPOINT", "MODELSCOPE_API_TOKEN")


def fetch_modelscope(
    repo_id: str, *, revision: str | None = None, cache_dir: str | os.PathLike[str] | None = None
) -> Path:
    """The directory that holds config.json, preprocessor_config.json and the weights of "org/name" on ModelScope.

    The files are chosen as by `fetch_hub`, and checked against the SHA-256 of the hub's list. When the hub cannot be
    reached, what has been fetched before is found again; a revision that is a commit is then not even asked for.

    revision: a branch, tag or commit; None: "master".
    cache_dir: where repositories are kept; None: vitlib's cache, as for `download`.
    `MODELSCOPE_ENDPOINT` names another server, such as https://www.modelscope.ai, and `MODELSCOPE_API_TOKEN` opens
    private repositories, as for ModelScope's own client.

    Raises DownloadError for whatever goes wrong on the way, and ValueError for a repo_id or a revision that is none.
    """
    key = token(_VARIABLES[1])
    # Some of its servers know the header, some the cookie
    headers = {"Authorization": f"Bearer {key}", "Cookie": f"m_session_id={key}"} if key else {}
    address = endpoint(_VARIABLES[0], "MODELSCOPE_DOMAIN", default="https://modelscope.cn")
    hub = Hub("ModelScope", address, _VARIABLES, _list_files, headers)
    return fetch_snapshot(hub, repo_id, revision or "master", cache_dir)


def _list_files(hub: Hub, repo_id: str, revision: str) -> Mapping[str, RemoteFile]:
    path, version = f"/api/v1/models/{quote(repo_id)}/repo", f"Revision={quote(revision, safe='')}"
    answer = hub.read_json(f"{path}/files?{version}&Recursive=False")
    try:
        if answer.get("Code", 200) != 200:
            raise DownloadError(f"the hub refuses: {str(answer.get('Message'))[:200]!r}")
        files: dict[str, RemoteFile] = {}
        for entry in answer["Data"]["Files"] or ():
            if entry["Type"] != "tree" and is_wanted(entry["Path"]):
                url = f"{hub.endpoint}{path}?{version}&FilePath={quote(entry['Path'], safe='')}"
                sha256 = entry["Sha256"].lower()
                if not re.fullmatch(r"[0-9a-f]{64}", sha256):
                    raise DownloadError(f"the hub gives no SHA-256 of {entry['Path']!r}")
                files[entry["Path"]] = RemoteFile(url, sha256, partial(wrong_sha256, sha256))
        return files
    except (KeyError, TypeError, AttributeError):
        raise DownloadError("the hub's answer is not a list of files with their SHA-256") from None
