"""Downloads from a server on 127.0.0.1."""

import contextlib
import hashlib
import io
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import numpy as np
import pytest
from file_server import FileServer

import vitlib
from vitlib.hub import DownloadError, download, downloads, transfer

BODY = np.random.default_rng(0).bytes(300_000)
OTHER = np.random.default_rng(1).bytes(300_000)
DIGEST = hashlib.sha256(BODY).hexdigest()
HUB = Path(vitlib.__file__).parent / "hub"

# `vitlib.hub.download` in a process of its own, without the second that importing Paddle takes
SCRIPT = """
import sys, types
sys.modules["vitlib"] = types.ModuleType("vitlib")
sys.modules["vitlib"].__path__ = [sys.argv[1]]
from vitlib.hub import download
print(download(sys.argv[2], cache_dir=sys.argv[3]))
"""


@pytest.fixture
def server():
    server = FileServer()
    yield server
    server.close()


@pytest.fixture(autouse=True)
def _quick_and_direct(monkeypatch):
    monkeypatch.setattr(downloads, "_PAUSES", (0.0, 0.01, 0.01))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def get(tmp_path):
    return lambda url, **options: download(url, cache_dir=tmp_path, **options)


def in_process(url, cache):
    command = [sys.executable, "-c", SCRIPT, str(HUB.parent), url, str(cache)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def names_in(directory):
    return sorted(path.name for path in directory.rglob("*") if path.is_file() and path.suffix != ".lock")


def test_a_file_is_fetched_once_and_then_found_in_the_cache(server, get, tmp_path):
    url = server.put("/dir/model.bin", BODY)
    path = get(url)
    assert path.read_bytes() == BODY
    assert get(url) == path
    assert len(server.requests) == 1
    assert names_in(tmp_path) == ["model.bin"]


def test_files_of_the_same_name_from_different_places_are_kept_apart(server, get):
    first, second = get(server.put("/imagenet21k/ViT-B_16.npz", BODY)), get(server.put("/sam/ViT-B_16.npz", OTHER))
    assert first.name == second.name == "ViT-B_16.npz"
    assert (first.read_bytes(), second.read_bytes()) == (BODY, OTHER)


def test_an_interrupted_download_goes_on_where_it_stopped(server, get, tmp_path):
    assert get(server.put("/model.bin", BODY, cuts=[100_000, 50_000])).read_bytes() == BODY
    assert server.asked("Range") == ["", "bytes=99999-", "bytes=149998-"]
    assert server.asked("If-Range") == ["", '"first"', '"first"']
    assert names_in(tmp_path) == ["model.bin"]


def test_a_later_call_goes_on_where_an_earlier_one_gave_up(server, get, tmp_path):
    pytest.importorskip("filelock")
    url = server.put("/model.bin", BODY, cuts=[90_000, 0, 0, 0])
    with pytest.raises(DownloadError, match="connection failed"):
        get(url)
    assert "model.bin" not in names_in(tmp_path)
    assert get(url).read_bytes() == BODY
    assert server.asked("Range")[-1] == "bytes=89999-"


@pytest.mark.parametrize(("etag", "ranges"), [('"first"', False), ("", True), ('W/"weak"', True)])
def test_a_server_that_cannot_continue_the_same_version_starts_again(server, get, etag, ranges):
    assert get(server.put("/model.bin", BODY, etag=etag, ranges=ranges, cuts=[100_000])).read_bytes() == BODY
    assert len(server.requests) == 2


@pytest.mark.parametrize("careless", [False, True])
@pytest.mark.parametrize("new", [OTHER, OTHER[:50_000]])
def test_two_versions_of_a_file_are_never_mixed(server, get, new, careless):
    def change(served):
        served.body, served.etag = new, '"second"'

    url = server.put("/model.bin", BODY, careless=careless, cuts=[100_000], after=change)
    assert get(url).read_bytes() == new


def test_a_part_that_only_lacks_its_name_is_completed_by_one_byte(server, get):
    pytest.importorskip("filelock")
    url = server.put("/model.bin", BODY)
    path = get(url)
    path.rename(path.with_name(".model.bin.part"))
    path.with_name(".model.bin.validator").write_text('"first"')
    assert get(url).read_bytes() == BODY
    assert server.asked("Range")[-1] == "bytes=299999-"


def test_a_cut_off_transfer_is_never_taken_for_whole(server, get, tmp_path):
    assert get(server.put("/whole.bin", BODY, chunked=True)).read_bytes() == BODY
    for faults in ({"chunked": True, "etag": ""}, {"ranges": False}):
        with pytest.raises(DownloadError, match="connection failed"):
            get(server.put("/cut.bin", BODY, cuts=[131_072] * 9, **faults))
    with pytest.raises(DownloadError, match="without its length"):
        get(server.put("/untold.bin", BODY, length=False))
    assert not {"cut.bin", "untold.bin"} & {*names_in(tmp_path)}


@pytest.mark.parametrize("sha256", [DIGEST, DIGEST.upper(), DIGEST[:8]])
def test_the_right_hash_is_accepted_in_full_or_by_its_first_digits(server, get, sha256):
    assert get(server.put("/model.bin", BODY), sha256=sha256).read_bytes() == BODY


def test_a_wrong_hash_says_both_and_leaves_nothing(server, get, tmp_path):
    with pytest.raises(DownloadError, match=f"found SHA-256 {DIGEST}, expected {'0' * 64}"):
        get(server.put("/model.bin", BODY), sha256="0" * 64)
    assert names_in(tmp_path) == []


def test_the_hash_in_a_name_is_checked_as_torch_hub_does_and_a_date_is_none(server, get):
    assert get(server.put(f"/deit-{DIGEST[:8]}.pth", BODY)).read_bytes() == BODY
    url = server.put("/deit-df68dfff.pth", BODY)
    with pytest.raises(DownloadError, match="expected df68dfff"):
        get(url)
    assert get(url, sha256=DIGEST).read_bytes() == BODY  # what is given counts more than the name
    assert get(server.put("/model-20210615.pth", BODY)).read_bytes() == BODY


def test_a_cached_file_of_another_hash_is_replaced_only_by_the_right_one(server, get):
    url = server.put("/model.bin", OTHER)
    path = get(url)
    with pytest.raises(DownloadError, match="found SHA-256"):
        get(url, sha256=DIGEST)
    assert path.read_bytes() == OTHER
    server.put("/model.bin", BODY)
    assert get(url, sha256=DIGEST).read_bytes() == BODY


def test_a_file_put_into_the_cache_by_hand_is_used_without_any_connection(get):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/model.bin"
    with pytest.raises(DownloadError, match=rf"{url} could not .*refused.*a mirror.*by hand.*put it at") as caught:
        get(url)
    target = Path(str(caught.value).partition("put it at ")[2].partition(",")[0])
    target.write_bytes(BODY)
    assert get(url) == target


@pytest.mark.parametrize("status", [404, 410, 401, 403, 418])
def test_a_final_status_is_said_at_once_and_a_busy_server_is_asked_again(server, get, tmp_path, status):
    with pytest.raises(DownloadError, match=rf"answered {status} \w+.*mirror.*by hand"):
        get(server.put("/model.bin", BODY, statuses=[status] * 9))
    assert len(server.requests) == 1
    assert names_in(tmp_path) == []
    assert get(server.put("/late.bin", BODY, statuses=[503, 429, 500])).read_bytes() == BODY
    with pytest.raises(DownloadError, match="answered 503"):
        get(server.put("/never.bin", BODY, statuses=[503] * 9))


def test_a_silent_server_is_a_timeout(server, get, monkeypatch):
    monkeypatch.setattr(transfer, "_TIMEOUT", 0.1)
    with pytest.raises(DownloadError, match="ReadTimeout"):
        get(server.put("/model.bin", BODY, pace=(1, 5.0)))


def test_redirects_are_followed_and_the_range_goes_along(server, get):
    server.put("/real.bin", BODY, cuts=[100_000])
    url = server.put("/model.bin", statuses=[301, 302, 307, 308] * 2, headers={"Location": "/real.bin"})
    assert get(url).read_bytes() == BODY
    assert [headers.get("range") for path, headers in server.requests if path == "/real.bin"] == [None, "bytes=99999-"]


@pytest.mark.parametrize("target", ["file:///etc/hostname", "ftp://127.0.0.1/x", "data:,hello", "/model.bin"])
def test_redirects_in_a_circle_or_to_other_schemes_are_not_followed(server, get, tmp_path, target):
    with pytest.raises(DownloadError, match=r"not followed|more than 5 times|cannot be used"):
        get(server.put("/model.bin", statuses=[302] * 99, headers={"Location": target}))
    assert len(server.requests) < 10
    assert names_in(tmp_path) == []


def test_a_redirect_from_https_to_http_is_refused(get, monkeypatch):
    moved = httpx.Response(302, headers={"Location": "http://weights.invalid/model.bin"})
    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", lambda *_: moved)
    with pytest.raises(DownloadError, match="redirects from https to http"):
        get("https://weights.invalid/model.bin")


def test_a_proxy_is_taken_from_the_environment(server, get, monkeypatch):
    url = "http://weights.invalid/model.bin"
    server.put(url, BODY)  # a proxy is asked for the whole URL
    monkeypatch.setenv("HTTP_PROXY", server.url)
    assert get(url).read_bytes() == BODY
    monkeypatch.setenv("HTTP_PROXY", "gopher://user:hidden@127.0.0.1")
    with pytest.raises(DownloadError, match="proxy on the way cannot be used") as caught:
        get("http://weights.invalid/other.bin")
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    ["file:///etc/hostname", "/etc/hostname", "ftp://127.0.0.1/x", "http:///x", "http://[::1/x", "http://a b/c", ""],
)
def test_anything_but_an_http_url_is_refused_before_anything_happens(get, tmp_path, url):
    with pytest.raises(DownloadError, match="no http or https URL"):
        get(url)
    assert names_in(tmp_path) == []


def test_secrets_in_a_url_go_to_its_server_and_into_no_message(server, get, caplog):
    caplog.set_level("INFO")
    other = FileServer()
    target = other.put("/elsewhere.bin", statuses=[404])
    server.put("/model.bin?token=hidden2", statuses=[302], headers={"Location": target})
    with pytest.raises(DownloadError) as caught:
        get(server.url.replace("://", "://user:hidden1@") + "/model.bin?token=hidden2")
    other.close()
    assert "hidden" not in str(caught.value) + caplog.text
    assert "user" not in str(caught.value)
    assert server.asked("Authorization") == ["Basic dXNlcjpoaWRkZW4x"]  # user:hidden1
    assert other.asked("Authorization") == [""]


def test_a_compressed_or_endless_answer_is_refused(server, get, monkeypatch, tmp_path):
    with pytest.raises(DownloadError, match="compressed"):
        get(server.put("/model.bin", BODY, headers={"Content-Encoding": "gzip"}))
    monkeypatch.setattr(transfer, "_MAX_BYTES", 100_000)
    with pytest.raises(DownloadError, match="sends more than"):
        get(server.put("/model.bin", BODY, chunked=True))
    assert "model.bin" not in names_in(tmp_path)


def test_names_from_a_url_stay_inside_the_cache(server, get, tmp_path):
    for path in ("/", "/..%2F..%2Fevil", "/a%2F..", "/a%00b"):
        found = get(server.put(path, BODY))
        assert found.resolve().parent.parent == tmp_path.resolve()
        assert not found.name.startswith(".")


def test_a_cache_that_cannot_be_used_names_the_parameter_or_the_variable_that_moves_it(server, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(DownloadError, match=r"cannot be used.*another cache_dir") as caught:
        download(server.put("/model.bin", BODY), cache_dir=tmp_path / "file")
    assert "XDG_CACHE_HOME" not in str(caught.value)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(DownloadError, match=r"cannot be used.*set XDG_CACHE_HOME") as caught:
        download(server.put("/model.bin", BODY))
    assert "cache_dir" not in str(caught.value)


def test_without_filelock_each_process_has_a_temporary_file_of_its_own(server, get, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "filelock", None)
    assert get(server.put("/model.bin", BODY, cuts=[1000])).read_bytes() == BODY
    with pytest.raises(DownloadError):
        get(server.put("/other.bin", BODY, cuts=[1000] * 9, ranges=False))
    assert names_in(tmp_path) == ["model.bin"]


def test_threads_and_processes_that_want_the_same_file_fetch_it_once(server, get, tmp_path):
    pytest.importorskip("filelock")
    url = server.put("/model.bin", BODY, pace=(50_000, 0.1))
    processes = [in_process(url, tmp_path) for _ in range(2)]
    threads = [threading.Thread(target=get, args=(url,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(15)
    for process in processes:
        output, errors = process.communicate(timeout=15)
        assert (process.returncode, errors) == (0, "")
        assert Path(output.strip()).read_bytes() == BODY
    assert len(server.requests) == 1
    assert names_in(tmp_path) == ["model.bin"]


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_a_killed_download_leaves_no_file_and_no_lock_and_is_resumed(server, get, tmp_path):
    pytest.importorskip("filelock")
    url = server.put("/model.bin", BODY, pace=(20_000, 0.2))
    process = in_process(url, tmp_path)
    end = time.monotonic() + 8
    while not (parts := [p for p in tmp_path.rglob("*.part") if p.stat().st_size]) and time.monotonic() < end:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=10)
    kept = parts[0].stat().st_size
    assert names_in(tmp_path) == [".model.bin.part", ".model.bin.validator"]
    server.files["/model.bin"].pace = (1 << 16, 0.0)
    assert get(url).read_bytes() == BODY
    assert server.asked("Range")[-1] == f"bytes={kept - 1}-"


def test_the_cache_is_where_xdg_says(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert downloads.cache_root() == tmp_path / "vitlib"
    for value in ("", "relative/path"):  # the specification has relative paths ignored
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert downloads.cache_root() == Path.home() / ".cache" / "vitlib"


@pytest.mark.parametrize("sha256", ["xyz", "abc", ""])
def test_a_hash_that_cannot_be_meant_is_a_value_error(get, sha256):
    with pytest.raises(ValueError, match="sha256="):
        get("http://127.0.0.1:9/x", sha256=sha256)


@pytest.mark.parametrize(("terminal", "progress", "shown"), [(0, None, 0), (0, True, 1), (1, None, 1), (1, False, 0)])
def test_a_bar_is_shown_on_a_terminal_or_when_asked_for(server, get, monkeypatch, terminal, progress, shown):
    pytest.importorskip("tqdm")
    screen = io.StringIO()
    screen.isatty = lambda: bool(terminal)
    with contextlib.redirect_stderr(screen):
        get(server.put("/model.bin", BODY), progress=progress)
    assert ("model.bin" in screen.getvalue() and "100%" in screen.getvalue()) == bool(shown)
    monkeypatch.setitem(sys.modules, "tqdm", None)
    assert get(server.put("/other.bin", BODY), progress=True).read_bytes() == BODY
