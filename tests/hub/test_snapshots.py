"""Repositories on ModelScope and AI Studio, from servers on 127.0.0.1 that answer as theirs do."""

import hashlib
import json
import sys
from pathlib import Path
from urllib.parse import quote

import pytest
from file_server import FileServer

from vitlib.hub import DownloadError, download, downloads, fetch, is_identifier, snapshot

FIRST, SECOND = "a" * 40, "b" * 40
CONFIGS = {"config.json": b"{}", "preprocessor_config.json": b"{ }"}
OTHERS = {"README.md": b"hello", "modeling.py": b"raise SystemExit", "onnx/model.onnx": b"o", ".gitattributes": b""}
INDEX = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
SHARDS = {
    "model.safetensors.index.json": json.dumps(INDEX).encode(),
    "model-1.safetensors": b"one",
    "model-2.safetensors": b"two",
}
LARGE = bytes(range(256)) * 400


class ModelScope(FileServer):
    kind, name, variables = "modelscope", "ModelScope", ("MODELSCOPE_ENDPOINT", "MODELSCOPE_API_TOKEN")
    credentials = ("Bearer s3cret", "m_session_id=s3cret")

    def publish(self, repo, files, revision="master", lies=(), **faults):
        entries = [
            {"Path": name, "Name": name, "Type": "blob", "Size": len(body), "Sha256": hashlib.sha256(body).hexdigest()}
            for name, body in files.items()
        ] + [{"Path": "onnx", "Name": "onnx", "Type": "tree", "Size": 0, "Sha256": ""}]
        answer = {"Code": 200, "Data": {"Files": entries}, "Message": "success", "Success": True}
        version = f"Revision={quote(revision, safe='')}"
        self.listing(repo, revision, json.dumps(answer).encode())
        for name, body in files.items():
            path = f"/api/v1/models/{repo}/repo?{version}&FilePath={quote(name, safe='')}"
            self.put(path, dict(lies).get(name, body), etag=f'"{len(body)}"', **(faults if "weights" in name else {}))

    def listing(self, repo, revision="master", body=b"", **faults):
        self.put(
            f"/api/v1/models/{repo}/repo/files?Revision={quote(revision, safe='')}&Recursive=False", body, **faults
        )

    def fetched(self):
        return [path.rpartition("=")[2] for path, _ in self.requests if "FilePath" in path]


class AIStudio(FileServer):
    kind, name, variables = "aistudio", "AI Studio", ("STUDIO_GIT_HOST", "AISTUDIO_ACCESS_TOKEN")
    credentials = ("token s3cret", None)

    def publish(self, repo, files, revision="master", commit="", lies=(), **faults):
        api, contents = f"/api/v1/repos/{repo}", hashlib.sha1(repr(files).encode()).hexdigest()
        commit = commit or (revision if len(revision) == 40 else contents)
        tree = [{"path": "onnx", "type": "tree", "sha": "0" * 40}]
        for number, (name, body) in enumerate(files.items()):
            in_git = body
            if name.endswith((".npz", ".safetensors")):  # as git-lfs writes it, and as AI Studio's client does
                in_git = b"version https://git-lfs.github.com/spec/v1\noid sha256:%b\nsize %d%b" % (
                    hashlib.sha256(body).hexdigest().encode(),
                    len(body),
                    b"\n" * (number % 2),
                )
            sha = hashlib.sha1(b"blob %d\0%b" % (len(in_git), in_git)).hexdigest()
            tree.append({"path": name, "type": "blob", "sha": sha, "size": len(body)})
            path = f"{api}/media/{quote(name, safe='')}?ref={commit}"
            self.put(path, dict(lies).get(name, body), etag=f'"{len(body)}"', **(faults if "weights" in name else {}))
        half = len(tree) // 2
        for reference in (revision, commit):
            for page, entries in enumerate((tree[:half], tree[half:]), 1):
                url = f"{self.url}{api}/git/trees/{commit}"
                answer = {"sha": commit, "url": url, "tree": entries, "page": page, "truncated": page == 1}
                answer["total_count"] = len(tree)
                self.listing(repo, reference, json.dumps(answer).encode(), page=page)

    def listing(self, repo, revision="master", body=b"", page=1, **faults):
        pages = f"recursive=true&page={page}&per_page=1000"
        self.put(f"/api/v1/repos/{repo}/git/trees/{quote(revision, safe='')}?{pages}", body, **faults)

    def fetched(self):
        return [path.rpartition("/")[2].partition("?")[0] for path, _ in self.requests if "/media/" in path]


@pytest.fixture(params=[ModelScope, AIStudio])
def hub(request, monkeypatch, tmp_path):
    hub = request.param()
    monkeypatch.setenv(hub.variables[0], hub.url)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv(hub.variables[1], raising=False)
    monkeypatch.setattr(downloads, "_PAUSES", (0.0, 0.0))
    monkeypatch.setattr(snapshot, "_PAUSE", 0.0)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    yield hub
    hub.close()


def content(directory):
    return {path.name: path.read_bytes() for path in directory.iterdir() if not path.name.startswith(".")}


def test_only_configs_and_the_safest_weights_are_fetched(hub):
    kinds = [{"model.safetensors": b"safe"}, SHARDS, {"pytorch_model.bin": b"torch"}, {"model_state.pdparams": b"p"}]
    for number, kind in enumerate([*kinds, {"my weights+1.npz": b"google"}]):
        hub.publish(f"org/repo{number}", {**CONFIGS, **OTHERS, **kind, "optimizer.pt": b""})
        assert content(fetch(f"{hub.kind}:org/repo{number}")) == CONFIGS | kind
    hub.publish("org/bare", {"model.safetensors": b"safe"})
    assert content(fetch(f"{hub.kind}:org/bare")) == {"model.safetensors": b"safe"}


def test_what_was_fetched_is_found_again_without_being_fetched_or_without_a_network(hub):
    hub.publish("org/repo", CONFIGS | SHARDS)
    first = fetch(f"{hub.kind}:org/repo")
    hub.requests.clear()
    assert fetch(f"{hub.kind}:org/repo") == first
    assert hub.fetched() == []
    hub.listing("org/repo", statuses=[503] * 9)
    assert fetch(f"{hub.kind}:org/repo") == first
    hub.close()
    assert fetch(f"{hub.kind}:org/repo") == first
    with pytest.raises(
        DownloadError, match=f"org/new could not be fetched from {hub.name}: it is not in the cache, and"
    ):
        fetch(f"{hub.kind}:org/new")
    (first / "model-2.safetensors").unlink()
    with pytest.raises(DownloadError, match="not in the cache"):
        fetch(f"{hub.kind}:org/repo")


def test_repositories_whose_names_join_to_the_same_text_are_kept_apart(hub):
    for repo in ("a--b/c", "a/b--c"):
        hub.publish(repo, {"model.safetensors": repo.encode()})
        assert content(fetch(f"{hub.kind}:{repo}")) == {"model.safetensors": repo.encode()}
    hub.close()
    for repo in ("a--b/c", "a/b--c"):
        assert content(fetch(f"{hub.kind}:{repo}")) == {"model.safetensors": repo.encode()}


def test_a_repository_lies_under_its_host_and_name(hub, tmp_path):
    hub.publish("org/re-po", {"model.safetensors": b"safe"})
    host = hub.url.removeprefix("http://").replace(":", "_")
    assert fetch(f"{hub.kind}:org/re-po").parent == tmp_path / "vitlib" / host / "org--re-po"


def test_a_commit_that_is_in_the_cache_is_not_asked_for(hub):
    hub.publish("org/repo", CONFIGS | SHARDS, revision=FIRST)
    first = fetch(f"{hub.kind}:org/repo@{FIRST}")
    hub.requests.clear()
    assert fetch(f"{hub.kind}:org/repo@{FIRST}") == first
    assert hub.requests == []


def test_another_version_is_another_directory_and_the_old_one_stays(hub):
    hub.publish("org/repo", CONFIGS | {"model.safetensors": b"old"})
    old = fetch(f"{hub.kind}:org/repo")
    hub.publish("org/repo", CONFIGS | {"model.safetensors": b"new"})
    hub.publish("org/repo", CONFIGS | {"model.safetensors": b"tag"}, revision="v1/x")
    assert content(fetch(f"{hub.kind}:org/repo"))["model.safetensors"] == b"new"
    assert content(fetch(f"{hub.kind}:org/repo@v1/x"))["model.safetensors"] == b"tag"
    assert content(old)["model.safetensors"] == b"old"


def test_a_cut_file_is_continued_and_a_file_of_other_contents_refused(hub):
    hub.publish("org/cut", {"weights.npz": LARGE}, cuts=[50_000])
    assert content(fetch(f"{hub.kind}:org/cut")) == {"weights.npz": LARGE}
    assert "bytes=49999-" in hub.asked("Range")
    hub.publish("org/wrong", CONFIGS | {"weights.npz": LARGE}, lies={"weights.npz": LARGE[::-1]})
    with pytest.raises(DownloadError, match=r"org/wrong could not .*SHA-256"):
        fetch(f"{hub.kind}:org/wrong")
    hub.publish("org/config", CONFIGS | {"weights.npz": LARGE}, lies={"config.json": b"[]"})
    with pytest.raises(DownloadError, match="SHA-256"):
        fetch(f"{hub.kind}:org/config")
    hub.publish("org/wrong", CONFIGS | {"weights.npz": LARGE})
    assert content(fetch(f"{hub.kind}:org/wrong")) == CONFIGS | {"weights.npz": LARGE}


def test_a_refusal_says_why_and_names_the_ways_out(hub):
    hub.publish("org/empty", CONFIGS | OTHERS)
    hub.publish("org/many", {"a.npz": b"a", "b.npz": b"b"})
    hub.publish("org/index", {"model.safetensors.index.json": b'{"weight_map": {"a": "../x.safetensors"}}'})
    hub.listing("org/odd", body=b"[]")
    hub.listing("org/broken", body=b"{")
    hub.listing("org/private", statuses=[403])
    reasons = {"empty": "holds no weights", "many": "several weight files", "index": "names '../x.safetensors'"}
    reasons |= {"odd": "not a list of files", "broken": "no JSON", "private": "answered 403", "missing": "answered 404"}
    for repo, reason in reasons.items():
        with pytest.raises(DownloadError) as caught:
            fetch(f"{hub.kind}:org/{repo}")
        assert f"org/{repo} could not be fetched from {hub.name}: " in str(caught.value)
        for word in (reason, "'master'", *hub.variables, "by hand"):
            assert word in str(caught.value)
    assert set(hub.fetched()) == {"model.safetensors.index.json"}


def test_a_token_goes_to_the_hub_alone_and_into_no_message(hub, monkeypatch):
    monkeypatch.setenv(hub.variables[1], "s3cret")
    storage = FileServer()
    target = storage.put("/object", LARGE)
    hub.publish("org/repo", {"weights.npz": LARGE}, statuses=[307], headers={"Location": target})
    fetch(f"{hub.kind}:org/repo")
    for _, headers in hub.requests:
        assert (headers.get("authorization"), headers.get("cookie")) == hub.credentials
    assert [set(headers) & {"authorization", "cookie"} for _, headers in storage.requests] == [set()]
    storage.close()
    with pytest.raises(DownloadError) as caught:
        fetch(f"{hub.kind}:org/missing")
    assert "s3cret" not in str(caught.value)
    monkeypatch.setenv(hub.variables[1], "s3cret\nHost: evil")
    with pytest.raises(DownloadError, match=f"{hub.variables[1]} cannot be a token") as caught:
        fetch(f"{hub.kind}:org/repo")
    assert "s3cret" not in str(caught.value)


def test_names_that_lead_out_of_the_directory_are_not_fetched(hub):
    hub.publish("org/repo", {"../evil.npz": b"1", "..\\evil.npz": b"2", "sub/evil.npz": b"3", "C:evil.npz": b"4"})
    with pytest.raises(DownloadError, match="holds no weights"):
        fetch(f"{hub.kind}:org/repo")


def test_an_index_of_shards_that_are_not_there_is_refused(hub):
    hub.publish("org/repo", {name: body for name, body in SHARDS.items() if not name.startswith("model-2")})
    with pytest.raises(DownloadError, match=r"its index names 'model-2\.safetensors', which the repository does not"):
        fetch(f"{hub.kind}:org/repo")


def test_a_list_without_hashes_is_refused(hub):
    hub.publish("org/repo", {"model.safetensors": b"safe"})
    for served in hub.files.values():
        answer = json.loads(served.body) if served.body.startswith(b"{") else {}
        for entry in answer.get("tree") or answer.get("Data", {}).get("Files", ()):
            entry.update(Sha256="", sha="")
        served.body = json.dumps(answer).encode() if answer else served.body
    with pytest.raises(DownloadError, match=r"no SHA-256 of 'model.safetensors'|Git id"):
        fetch(f"{hub.kind}:org/repo")


def test_a_tag_of_ai_studio_is_the_commit_that_it_stands_for(monkeypatch, tmp_path):
    hub = AIStudio()
    monkeypatch.setenv("STUDIO_GIT_HOST", hub.url.removeprefix("http://"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(DownloadError, match="AI Studio"):  # an address without a scheme is an https one
        fetch("aistudio:org/repo")
    monkeypatch.setenv("STUDIO_GIT_HOST", hub.url)
    hub.put("/api/v1/repos/org/repo/tags/v1", json.dumps({"name": "v1", "commit": {"sha": SECOND}}).encode())
    hub.publish("org/repo", {"model.safetensors": b"tagged"}, revision="other", commit=SECOND)
    assert content(fetch("aistudio:org/repo@v1")) == {"model.safetensors": b"tagged"}
    hub.close()


def test_fetch_sends_each_identifier_to_its_hub(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    calls = []
    monkeypatch.setattr("vitlib.hub.huggingface.fetch_hub", lambda *call, **options: calls.append((*call, options)))
    fetch("hf:org/repo")
    fetch("hf:org/repo@v1")
    assert calls == [("org/repo", {"revision": None}), ("org/repo", {"revision": "v1"})]
    server = FileServer()
    url = server.put("/model.bin", LARGE)
    assert fetch(url) == download(url)
    server.close()


@pytest.mark.parametrize("source", ["org/repo", "a.npz", "ftp://127.0.0.1/x", "HF:org/repo", "", None, Path()])
def test_anything_else_is_no_identifier(source):
    assert not is_identifier(source)
    with pytest.raises(ValueError, match="expected hf:org/name, modelscope:org/name, aistudio:org/name"):
        fetch(source)


@pytest.mark.parametrize("rest", ["", "repo", "org/repo/more", "../repo", "org/..", "org/repo@../x", "org/repo@a b"])
@pytest.mark.parametrize("kind", ["modelscope", "aistudio"])
def test_names_and_revisions_that_cannot_be_are_value_errors(kind, rest):
    with pytest.raises(ValueError, match=r"expected org/repo|expected a branch"):
        fetch(f"{kind}:{rest}")


def test_the_hubs_need_no_package_beside_httpx(monkeypatch):
    for name in ("modelscope", "modelscope_hub", "aistudio_sdk", "huggingface_hub", "requests"):
        monkeypatch.setitem(sys.modules, name, None)
    for address in ("MODELSCOPE_ENDPOINT", "STUDIO_GIT_HOST"):
        monkeypatch.setenv(address, "http://127.0.0.1:9")
    for kind in ("modelscope", "aistudio"):
        with pytest.raises(DownloadError, match="not in the cache"):
            fetch(f"{kind}:org/repo")
