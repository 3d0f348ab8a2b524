"""One entry for everything that weights can be fetched from."""

from __future__ import annotations

from pathlib import Path

_FORMS = ("hf:org/name", "modelscope:org/name", "aistudio:org/name", "https://...")


def is_identifier(source: object) -> bool:
    """Whether `fetch` is meant, rather than a local path."""
    return isinstance(source, str) and source.startswith(("hf:", "modelscope:", "aistudio:", "http://", "https://"))


def fetch(identifier: str) -> Path:
    """The local path of what an identifier names, fetched unless it is in the cache.

    - `hf:org/name`: from the Hugging Face hub (`pip install 'vitlib[hub]'`), a directory with configs and weights
    - `modelscope:org/name`: from ModelScope, the same
    - `aistudio:org/name`: from Baidu AI Studio, the same
    - `https://...` or `http://...`: the file at this URL

    A hub's identifier may end with `@revision`: a branch, tag or commit. Only configs and weights are fetched, never
    code, each file whole and checked or not at all.

    To work offline, fetch once with a network: later calls find the files where the hub does not answer. With
    `HF_HUB_OFFLINE=1` the Hugging Face hub is not asked at all; ModelScope and AI Studio are not asked for a revision
    that is a commit. Files that came another way (`hf download`, `modelscope download`, `aistudio download`, a
    USB stick) are used by passing the path of their directory instead of an identifier.

    Raises DownloadError for whatever goes wrong on the way, ValueError for an identifier that is none, and ImportError
    when the Hugging Face hub's extra is not installed.
    """
    from . import aistudio, downloads, huggingface, modelscope

    if not is_identifier(identifier):
        raise ValueError(f"{identifier!r} names nothing to fetch: expected {', '.join(_FORMS)}")
    kind, _, rest = identifier.partition(":")
    if kind in ("http", "https"):
        return downloads.download(identifier)
    repo_id, _, revision = rest.partition("@")
    fetcher = {
        "hf": huggingface.fetch_hub,
        "modelscope": modelscope.fetch_modelscope,
        "aistudio": aistudio.fetch_aistudio,
    }[kind]
    return fetcher(repo_id, revision=revision or None)
