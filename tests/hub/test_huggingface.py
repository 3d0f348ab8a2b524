"""`fetch_hub` through the real huggingface_hub, which asks a hub on 127.0.0.1, in a process of its own."""

import importlib.util
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from file_server import FileServer

import vitlib
from vitlib.hub import DownloadError
from vitlib.hub import huggingface as module

needs_hub = pytest.mark.skipif(
    importlib.util.find_spec("huggingface_hub") is None, reason="huggingface_hub, the extra `hub`, is not installed"
)
FIRST, SECOND = "a" * 40, "b" * 40

# huggingface_hub reads its variables when it is imported. The stubs save the second that importing Paddle takes, and
# no pause between its attempts the five that it would wait.
SCRIPT = """
import json, sys, time, types
root, calls = sys.argv[1], json.loads(sys.argv[2])
for name in ("vitlib", "vitlib.hub"):
    package = types.ModuleType(name)
    package.__path__ = [f"{root}/{name.replace('.', '/')}"]
    sys.modules[name] = package
time.sleep = lambda seconds: None
from vitlib.hub.huggingface import fetch_hub
for repo, options in calls:
    try:
        print("RESULT", json.dumps(["path", str(fetch_hub(repo, **options))]))
    except Exception as error:
        print("RESULT", json.dumps([type(error).__name__, str(error)]))
"""


class Hub(FileServer):
    """Repositories on the routes of huggingface.co that huggingface_hub uses."""

    def publish(self, repo, files, commit=FIRST, revisions=("main",), **faults):
        """faults: of `Served`, for the weights' own route."""
        listing = {"id": repo, "sha": commit, "siblings": [{"rfilename": name} for name in files], "tags": []}
        for revision in (*revisions, commit):
            self.put(f"/api/models/{repo}/revision/{revision}", json.dumps(listing).encode())
            for name, body in files.items():
                options = faults if name.rpartition(".")[2] in ("safetensors", "bin") else {}
                headers = {"X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
                etag = f'"{commit[:8]}{len(body)}{name}"'.replace("/", "-")
                self.put(f"/{repo}/resolve/{revision}/{name}", body, etag=etag, headers=headers, **options)

    def refuse(self, repo, status, code, revision="main"):
        headers = {"X-Error-Code": code} if code else {}
        self.put(f"/api/models/{repo}/revision/{revision}", statuses=[status] * 99, headers=headers)

    def fetched(self):
        return [path.rpartition("/")[2] for path, _ in self.requests if "/resolve/" in path]


@pytest.fixture
def hub():
    hub = Hub()
    yield hub
    hub.close()


@pytest.fixture
def fetch(tmp_path):
    """fetch(endpoint, (repo, options)..., **variables): [kind, text] for each call, all in one process."""

    def run(endpoint, *calls, **variables):
        kept = {name: value for name, value in os.environ.items() if "proxy" not in name.lower() and name[:2] != "HF"}
        variables = {"HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path / "home"), "NO_PROXY": "127.0.0.1", **variables}
        root = str(Path(vitlib.__file__).parents[1])
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, root, json.dumps(calls)],
            env=kept | variables | {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_ETAG_TIMEOUT": "2"},
            capture_output=True,
            text=True,
            timeout=30,
        )
        lines = [line.removeprefix("RESULT ") for line in done.stdout.splitlines() if line.startswith("RESULT ")]
        assert len(lines) == len(calls), done.stderr
        return [json.loads(line) for line in lines]

    return run


def content(directory):
    return {path.name: path.read_bytes() for path in Path(directory).iterdir()}


CONFIGS = {"config.json": b"{}", "preprocessor_config.json": b"{ }"}
OTHERS = {
    "README.md": b"hello",
    "modeling.py": b"raise SystemExit",
    "training_args.bin": b"pickle",
    "onnx/model.onnx": b"o",
}
INDEX = json.dumps({"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}})
SHARDS = {
    "model.safetensors.index.json": INDEX.encode(),
    "model-00001-of-00002.safetensors": b"one",
    "model-00002-of-00002.safetensors": b"two",
}


@needs_hub
def test_only_configs_and_the_safest_weights_are_fetched(hub, fetch):
    plain, pickled = {"model.safetensors": b"safe"}, {"pytorch_model.bin": b"pickle"}
    index = json.dumps({"weight_map": {"a": "pytorch_model-1.bin"}}).encode()
    parts = {"pytorch_model.bin.index.json": index, "pytorch_model-1.bin": b"part"}
    paddle, google = {"model_state.pdparams": b"paddle"}, {"B_16.npz": b"google"}
    kinds = [plain, SHARDS, pickled, parts, paddle, google]
    for number in range(len(kinds)):
        later = {name: body for kind in kinds[number:] for name, body in kind.items()}
        hub.publish(f"org/repo{number}", {**CONFIGS, **OTHERS, **later})
    hub.publish("org/bare", plain)
    answers = fetch(hub.url, *((f"org/repo{number}", {}) for number in range(len(kinds))), ("org/bare", {}))
    assert [kind for kind, _ in answers] == ["path"] * 7
    for kind, (_, path) in zip(kinds, answers, strict=False):
        assert content(path) == CONFIGS | kind
    assert content(answers[-1][1]) == plain


@needs_hub
def test_what_was_fetched_is_found_again_offline_and_without_a_server(hub, fetch, tmp_path):
    hub.publish("org/repo", CONFIGS | SHARDS)
    hub.publish("org/tagged", CONFIGS | {"weights.npz": b"npz"}, commit=SECOND, revisions=("main", "v1"))
    calls = [("org/repo", {}), ("org/tagged", {"revision": "v1"}), ("org/repo", {"cache_dir": str(tmp_path / "other")})]
    online = fetch(hub.url, *calls)
    assert [kind for kind, _ in online] == ["path"] * 3
    assert str(tmp_path / "other") in online[2][1]
    hub.requests.clear()
    offline = fetch(hub.url, *calls, ("org/tagged", {"revision": SECOND}), ("org/new", {}), HF_HUB_OFFLINE="1")
    assert offline[:3] == online
    assert offline[3] == online[1]
    assert offline[4][0] == "DownloadError"
    assert "org/new could not be fetched" in offline[4][1]
    assert "not in the cache, and HF_HUB_OFFLINE" in offline[4][1]
    assert hub.requests == []
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{free.getsockname()[1]}"
    down = fetch(closed, *calls, ("org/new", {}))
    assert down[:3] == online
    assert down[3][0] == "DownloadError"
    assert f"{closed} did not answer" in down[3][1]
    hub.requests.clear()
    assert fetch(hub.url, ("org/tagged", {"revision": SECOND})) == [online[1]]  # a commit never changes
    assert hub.requests == []
    hub.refuse("org/repo", 429, "")
    assert fetch(hub.url, calls[0]) == online[:1]


@needs_hub
def test_an_incomplete_cache_is_not_taken_for_the_repository(hub, fetch):
    hub.publish("org/repo", CONFIGS | SHARDS)
    [(_, path)] = fetch(hub.url, ("org/repo", {}))
    (Path(path) / "model-00002-of-00002.safetensors").unlink()
    [(kind, text)] = fetch(hub.url, ("org/repo", {}), HF_HUB_OFFLINE="1")
    assert kind == "DownloadError"
    assert "not in the cache" in text
    assert fetch(hub.url, ("org/repo", {})) == [["path", path]]
    assert content(path) == CONFIGS | SHARDS


@needs_hub
def test_a_new_commit_is_a_new_directory_and_the_old_one_stays(hub, fetch):
    hub.publish("org/repo", CONFIGS | {"model.safetensors": b"old"})
    [(_, old)] = fetch(hub.url, ("org/repo", {}))
    hub.publish("org/repo", CONFIGS | {"model.safetensors": b"newer"}, commit=SECOND)
    (_, new), (_, pinned) = fetch(hub.url, ("org/repo", {}), ("org/repo", {"revision": FIRST}))
    assert content(new)["model.safetensors"] == b"newer"
    assert pinned == old
    assert content(old)["model.safetensors"] == b"old"


@needs_hub
def test_a_branch_that_moves_meanwhile_does_not_mix_two_commits(hub, fetch):
    old, new = ({"config.json": body, "model.safetensors": body} for body in (b"old", b"newer"))
    hub.publish("org/repo", old)
    weights = hub.files["/org/repo/resolve/main/model.safetensors"]
    weights.after = lambda _: hub.publish("org/repo", new, commit=SECOND)
    [(_, path)] = fetch(hub.url, ("org/repo", {}))
    assert content(path) == old


@needs_hub
def test_a_refusal_is_one_sentence_that_says_why(hub, fetch):
    hub.refuse("org/missing", 404, "RepoNotFound")
    hub.refuse("org/private", 401, "")
    hub.refuse("org/gated", 403, "GatedRepo")
    hub.refuse("org/repo", 404, "RevisionNotFound", "v9")
    hub.refuse("org/broken", 500, "")
    hub.publish("org/empty", CONFIGS | OTHERS)
    hub.publish("org/many", {"a.npz": b"a", "b.npz": b"b"})
    expected = {
        "org/missing": "no such repository, or it is private",
        "org/private": "no such repository, or it is private",
        "org/gated": "accept conditions",
        "org/repo": "it has no revision 'v9'",
        "org/broken": "did not answer (status 500)",
        "org/empty": "it holds no weights: expected model.safetensors",
        "org/many": "it holds several weight files, none of them called model.safetensors or the like: a.npz, b.npz",
    }
    calls = [(repo, {"revision": "v9"} if repo == "org/repo" else {}) for repo in expected]
    for (repo, sentence), (kind, text) in zip(expected.items(), fetch(hub.url, *calls), strict=True):
        assert kind == "DownloadError"
        assert text.startswith(f"{repo} could not be fetched")
        assert sentence in text
        assert "HF_ENDPOINT" in text
        assert "by hand" in text
        assert "\n" not in text
    assert hub.fetched() == []


@needs_hub
def test_a_cut_file_is_continued_or_refused_and_never_seen(hub, fetch, tmp_path):
    body = bytes(range(256)) * 400
    hub.publish("org/once", CONFIGS | {"model.safetensors": body}, cuts=[50_000])
    hub.publish("org/always", CONFIGS | {"model.safetensors": body}, cuts=[50_000] + [0] * 99)
    # releases before 1.0 do not go on by themselves after every kind of break, but at the next call
    _, (_, path), (kind, text) = fetch(hub.url, ("org/once", {}), ("org/once", {}), ("org/always", {}))
    assert content(path)["model.safetensors"] == body
    assert kind == "DownloadError"
    assert text.startswith("org/always could not be fetched")
    assert not list((tmp_path / "home").rglob("models--org--always/snapshots/*/model.safetensors"))


@needs_hub
def test_a_cache_that_cannot_be_used_names_the_parameter_or_the_variable_that_moves_it(hub, fetch, tmp_path):
    hub.publish("org/repo", {"model.safetensors": b"safe"})
    (tmp_path / "file").write_text("")
    calls = ("org/repo", {}), ("org/repo", {"cache_dir": str(tmp_path / "file")})
    (kind, text), (_, given) = fetch(hub.url, *calls, HF_HOME=str(tmp_path / "file"))
    assert kind == "DownloadError"
    assert f"{tmp_path / 'file'}" in text
    assert "cannot be used" in text
    assert "set HF_HOME" in text
    assert "give another cache_dir" in given


@needs_hub
def test_an_index_may_only_name_shards_beside_it(hub, fetch):
    indexes = [b"{", b"[]", b'{"weight_map": {"a": "../../evil.safetensors"}}', b'{"weight_map": {"a": "code.py"}}']
    indexes += [b'{"weight_map": {"a": 3}}', b'{"weight_map": {"a": "sub/b.safetensors"}}']
    for number, index in enumerate(indexes):
        hub.publish(f"org/repo{number}", {"model.safetensors.index.json": index, "code.py": b"", "config.json": b"{}"})
    for kind, text in fetch(hub.url, *((f"org/repo{number}", {}) for number in range(len(indexes)))):
        assert kind == "DownloadError"
        assert "model.safetensors.index.json is not an index" in text or "model.safetensors.index.json names" in text
    assert set(hub.fetched()) == {"model.safetensors.index.json", "config.json"}


def test_without_huggingface_hub_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ImportError, match=r"pip install 'vitlib\[hub\]'"):
        module.fetch_hub("org/repo")


@pytest.mark.parametrize(
    "repo_id", ["", "repo", "org/repo/more", "../repo", "org/..", "https://huggingface.co/org/repo", None]
)
def test_what_is_no_repository_name_is_a_value_error(repo_id):
    with pytest.raises(ValueError, match="expected org/repo"):
        module.fetch_hub(repo_id)


def test_a_download_error_is_an_os_error():
    assert issubclass(DownloadError, OSError)
