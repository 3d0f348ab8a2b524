"""Fetching a model's files from the Hugging Face hub, or a mirror of it, through `huggingface_hub`."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from .repository import check_repo_id, fetch_all, is_complete
from .transfer import PASSING, DownloadError

_COMMIT = re.compile(r"[0-9a-f]{40}")


def fetch_hub(repo_id: str, *, revision: str | None = None, cache_dir: str | os.PathLike[str] | None = None) -> Path:
    """The directory that holds config.json, preprocessor_config.json and the weights of "org/repo".

    The configs are left out where the repository has none. The weights are what `choose_weights` of
    `checkpoint/file_names.py` chooses, with the shards if that is an index. Nothing else is fetched, code least of all.
    What has been fetched before is found again without a network, too.

    revision: a branch, tag or commit; None: "main". A commit never changes.
    cache_dir: where `huggingface_hub` keeps repositories; None: its own cache.
    Its variables HF_ENDPOINT (a mirror), HF_HUB_OFFLINE, HF_TOKEN and HF_HOME mean what they mean everywhere.

    Raises DownloadError for whatever goes wrong on the way, ValueError for a repo_id that is none, and ImportError when
    `huggingface_hub` is not installed.
    """
    check_repo_id(repo_id)
    try:
        import huggingface_hub as hub
        import huggingface_hub.constants  # which it loads late
    except ImportError:
        raise ImportError("the Hugging Face hub needs huggingface_hub: pip install 'vitlib[hub]'") from None
    revision = revision or "main"
    if _COMMIT.fullmatch(revision) and (directory := _cached(hub, repo_id, revision, cache_dir)):
        return directory  # a commit never changes
    try:
        return _fetch(hub, repo_id, revision, cache_dir)
    except DownloadError as error:
        raise DownloadError(_text(repo_id, str(error))) from None
    except Exception as error:  # several libraries' errors, and other ones in each release
        if _unreachable(error) and (directory := _cached(hub, repo_id, revision, cache_dir)):
            return directory
        reason = _reason(hub, error, revision)
        if isinstance(error, OSError) and error.errno and not _unreachable(error):  # of the disk
            way_out = "give another cache_dir" if cache_dir else "set HF_HOME to a directory that can be written"
            reason = f"{error.filename or 'its cache'} cannot be used: {error.strerror}; {way_out}"
        raise DownloadError(_text(repo_id, reason)) from error


def _fetch(hub: Any, repo_id: str, revision: str, cache_dir: str | os.PathLike[str] | None) -> Path:
    listing = hub.HfApi().model_info(repo_id, revision=revision)
    commit = revision

    def fetch(name: str) -> Path:
        nonlocal commit
        path = Path(hub.hf_hub_download(repo_id, name, revision=commit, cache_dir=cache_dir))
        commit = path.parent.name  # the branch is resolved once, by the first file; all others come from that commit
        return path

    return fetch_all({sibling.rfilename for sibling in listing.siblings or ()}, fetch)


def _cached(hub: Any, repo_id: str, revision: str, cache_dir: str | os.PathLike[str] | None) -> Path | None:
    """The directory of an earlier call, if all of it is there."""
    root = Path(cache_dir or hub.constants.HF_HUB_CACHE).expanduser() / f"models--{repo_id.replace('/', '--')}"
    try:
        commit = revision if _COMMIT.fullmatch(revision) else (root / "refs" / revision).read_text().strip()
        if not _COMMIT.fullmatch(commit):
            return None
    except (OSError, ValueError):
        return None
    directory = root / "snapshots" / commit
    return directory if is_complete(directory) else None


def _kinds(error: BaseException) -> set[str]:
    return {kind.__name__ for kind in type(error).__mro__}


def _status(error: BaseException) -> int:
    return getattr(getattr(error, "response", None), "status_code", None) or 0


def _unreachable(error: BaseException) -> bool:
    """Whether the hub did not answer (by names: it speaks through requests, httpx or httpx2, by its release)."""
    signs = {"OfflineModeIsEnabled", "LocalEntryNotFoundError", "ConnectionError", "TransportError", "TimeoutError"}
    return bool(_kinds(error) & {*signs, "Timeout"}) or _status(error) >= 500 or _status(error) in PASSING


def _reason(hub: Any, error: BaseException, revision: str) -> str:
    kinds = _kinds(error)
    if "GatedRepoError" in kinds:
        return "its owners ask you to accept conditions: do so on its page, then log in (`hf auth login`, or HF_TOKEN)"
    if "RepositoryNotFoundError" in kinds or _status(error) in (401, 403):
        return "there is no such repository, or it is private: check the name, or log in (`hf auth login`, or HF_TOKEN)"
    if "RevisionNotFoundError" in kinds:
        return f"it has no revision {revision!r}"
    if hub.constants.HF_HUB_OFFLINE:
        return "it is not in the cache, and HF_HUB_OFFLINE forbids to fetch it"
    if "EntryNotFoundError" in kinds and "LocalEntryNotFoundError" not in kinds:
        return "a file that it lists is not there; it may have changed just now, so try again"
    said = str(error).strip().partition("\n")[0][:200].rstrip(".")
    if _unreachable(error):
        asked = f"{hub.constants.ENDPOINT} did not answer"
        return f"it is not in the cache, and {asked} ({f'status {_status(error)}' if _status(error) else said})"
    return f"{type(error).__name__}: {said}"


def _text(repo_id: str, reason: str) -> str:
    return (
        f"{repo_id} could not be fetched from the Hugging Face hub: {reason}. Ways out: a mirror (HF_ENDPOINT), or its "
        "files downloaded by hand into a directory, whose path is passed instead."
    )
