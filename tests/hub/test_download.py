"""Downloads from a server on 127.0.0.1."""

import contextlib
import errno
import hashlib
import io
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from file_server import FileServer, wait_until

import vitlib
from vitlib.hub import download as module
from vitlib.hub import http as transfer
from vitlib.hub.download import DownloadError, cached_path, default_cache_dir, download
from vitlib.hub.file_lock import file_lock

BODY = np.random.default_rng(0).bytes(300_000)
OTHER = np.random.default_rng(1).bytes(300_000)
DIGEST = hashlib.sha256(BODY).hexdigest()

# `vitlib.hub.download` in a process of its own, without the second that importing Paddle takes
SCRIPT = """
import sys, types
for name in ("vitlib", "vitlib.hub"):
    package = types.ModuleType(name)
    package.__path__ = [f"{sys.argv[1]}/{name.replace('.', '/')}"]
    sys.modules[name] = package
from vitlib.hub.download import download
print(download(sys.argv[2], cache_dir=sys.argv[3]))
"""


@pytest.fixture
def server():
    server = FileServer()
    yield server
    server.close()


@pytest.fixture(autouse=True)
def _quick_and_direct(monkeypatch):
    monkeypatch.setattr(module, "_PAUSES", (0.0, 0.01, 0.01))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def get(tmp_path):
    return lambda url, **options: download(url, cache_dir=tmp_path, **options)


def in_process(url, cache):
    command = [sys.executable, "-c", SCRIPT, str(Path(vitlib.__file__).parents[1]), url, str(cache)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def names_in(directory):
    return sorted(path.name for path in Path(directory).rglob("*") if path.is_file() and path.suffix != ".lock")


def test_a_file_is_fetched_once_and_then_found_in_the_cache(server, get, tmp_path):
    url = server.put("/dir/model.bin", BODY)
    path = get(url)
    assert path.read_bytes() == BODY
    assert path == cached_path(url, tmp_path)
    assert get(url) == path
    assert len(server.requests) == 1
    assert names_in(tmp_path) == ["model.bin"]


def test_files_of_the_same_name_from_different_places_are_kept_apart(server, get):
    first, second = get(server.put("/imagenet21k/ViT-B_16.npz", BODY)), get(server.put("/sam/ViT-B_16.npz", OTHER))
    assert first.name == second.name == "ViT-B_16.npz"
    assert (first.read_bytes(), second.read_bytes()) == (BODY, OTHER)


def test_an_interrupted_download_goes_on_where_it_stopped(server, get):
    path = get(server.put("/model.bin", BODY, cuts=[100_000, 50_000]))
    assert path.read_bytes() == BODY
    assert server.asked("Range") == ["", "bytes=100000-", "bytes=150000-"]
    assert server.asked("If-Range") == ["", '"first"', '"first"']


def test_a_later_call_goes_on_where_an_earlier_one_gave_up(server, get, tmp_path):
    url = server.put("/model.bin", BODY, cuts=[90_000, 0, 0, 0])
    with pytest.raises(DownloadError, match=r"ended after 90000 of 300000 bytes \(attempt 4, the last\); 90000 bytes"):
        get(url)
    assert not cached_path(url, tmp_path).exists()
    assert get(url).read_bytes() == BODY
    assert server.asked("Range")[-1] == "bytes=90000-"
    assert names_in(tmp_path) == ["model.bin"]


def test_a_last_modified_date_serves_where_there_is_no_strong_etag(server, get):
    date = "Wed, 21 Oct 2015 07:28:00 GMT"
    url = server.put("/model.bin", BODY, etag='W/"weak"', cuts=[70_000], headers={"Last-Modified": date})
    server.files["/model.bin"].ranges = False  # enough to see what is asked
    assert get(url).read_bytes() == BODY
    assert server.asked("If-Range") == ["", date]


@pytest.mark.parametrize("etag", ['"first"', "", 'W/"weak"'])
def test_a_server_that_cannot_continue_starts_again(server, get, etag):
    path = get(server.put("/model.bin", BODY, etag=etag, ranges=False, cuts=[100_000]))
    assert path.read_bytes() == BODY
    assert len(server.requests) == 2


def test_without_a_validator_nothing_is_continued(server, get):
    assert get(server.put("/model.bin", BODY, etag="", cuts=[100_000])).read_bytes() == BODY
    assert server.asked("Range") == ["", ""]


def test_a_file_that_changes_between_attempts_is_never_mixed(server, get):
    def change(served):
        served.body, served.etag = OTHER, '"second"'

    path = get(server.put("/model.bin", BODY, cuts=[100_000], after=change))
    assert path.read_bytes() == OTHER
    assert server.asked("If-Range") == ["", '"first"']


def test_a_server_that_continues_another_version_is_not_believed(server, get):
    def change(served):
        served.body, served.etag = OTHER, '"second"'

    assert get(server.put("/model.bin", BODY, careless=True, cuts=[100_000], after=change)).read_bytes() == OTHER
    assert server.asked("Range") == ["", "bytes=100000-", ""]


def test_a_part_that_only_lacks_its_name_is_completed_by_one_byte(server, get, tmp_path):
    url = server.put("/model.bin", BODY, cuts=[299_999])
    assert get(url).read_bytes() == BODY
    part = cached_path(url, tmp_path).with_name(".model.bin.part")
    cached_path(url, tmp_path).replace(part)
    part.with_name(".model.bin.part.json").write_text('{"validator": "\\"first\\"", "total": 300000}')
    assert get(url).read_bytes() == BODY
    assert server.asked("Range")[-1] == "bytes=299999-"


@pytest.mark.parametrize(
    "note", ["", "[]", '{"validator": 3, "total": 9}', '{"validator": "\\"first\\"", "total": 10}']
)
def test_a_part_with_a_damaged_note_is_not_continued(server, get, tmp_path, note):
    url = server.put("/model.bin", BODY)
    part = cached_path(url, tmp_path).with_name(".model.bin.part")
    part.parent.mkdir(parents=True)
    part.write_bytes(OTHER[:1000])
    part.with_name(".model.bin.part.json").write_text(note)
    assert get(url).read_bytes() == BODY
    assert server.asked("Range") == [""]


def test_a_file_that_became_shorter_is_fetched_anew(server, get):
    def shorten(served):
        served.body = OTHER[:50_000]

    assert get(server.put("/model.bin", BODY, cuts=[100_000], after=shorten)).read_bytes() == OTHER[:50_000]
    assert server.asked("Range") == ["", "bytes=100000-", ""]


def test_chunked_answers_are_whole_or_refused(server, get, tmp_path):
    assert get(server.put("/whole.bin", BODY, chunked=True, pace=(65_536, 0.0))).read_bytes() == BODY
    with pytest.raises(DownloadError, match=r"broke off|failed"):
        get(server.put("/cut.bin", BODY, chunked=True, pace=(65_536, 0.0), cuts=[131_072] * 9))
    assert "cut.bin" not in names_in(tmp_path)


def test_without_a_length_a_file_is_taken_only_if_its_hash_can_tell_that_it_is_whole(server, get):
    url = server.put("/model.bin", BODY, length=False)
    with pytest.raises(DownloadError, match="does not say how long the file is"):
        get(url)
    assert get(url, sha256=DIGEST).read_bytes() == BODY


@pytest.mark.parametrize("sha256", [DIGEST, DIGEST.upper(), DIGEST[:8]])
def test_the_right_hash_is_accepted_in_full_or_by_its_first_digits(server, get, sha256):
    assert get(server.put("/model.bin", BODY), sha256=sha256).read_bytes() == BODY


def test_a_wrong_hash_says_both_and_leaves_nothing(server, get, tmp_path):
    with pytest.raises(DownloadError, match=f"found {DIGEST}, expected {'0' * 64}"):
        get(server.put("/model.bin", BODY), sha256="0" * 64)
    assert names_in(tmp_path) == []
    assert len(server.requests) == 1


def test_the_hash_in_a_name_is_checked_as_torch_hub_does(server, get):
    assert get(server.put(f"/deit-{DIGEST[:8]}.pth", BODY)).read_bytes() == BODY
    url = server.put("/deit-df68dfff.pth", BODY)
    with pytest.raises(DownloadError, match=r"wrong SHA-256: found .*, expected df68dfff\.\.\."):
        get(url)
    assert get(url, sha256=DIGEST).read_bytes() == BODY  # what is given counts more than the name


def test_a_date_in_a_name_is_not_taken_for_a_hash(server, get):
    assert get(server.put("/model-20210615.pth", BODY)).read_bytes() == BODY


def test_a_wrong_hash_after_a_resumed_download_is_tried_once_from_the_beginning(server, get, tmp_path):
    url = server.put("/model.bin", BODY)
    part = cached_path(url, tmp_path).with_name(".model.bin.part")
    part.parent.mkdir(parents=True)
    part.write_bytes(OTHER[:1000])
    part.with_name(".model.bin.part.json").write_text('{"validator": "\\"first\\"", "total": 300000}')
    assert get(url, sha256=DIGEST).read_bytes() == BODY
    assert server.asked("Range") == ["bytes=1000-", ""]


def test_a_cached_file_of_another_hash_is_replaced_only_by_the_right_one(server, get, tmp_path):
    url = server.put("/model.bin", BODY)
    target = cached_path(url, tmp_path)
    target.parent.mkdir(parents=True)
    target.write_bytes(OTHER)
    with pytest.raises(DownloadError, match="wrong SHA-256"):
        get(url, sha256="1" * 64)
    assert target.read_bytes() == OTHER
    assert get(url, sha256=DIGEST).read_bytes() == BODY


def test_a_file_put_into_the_cache_by_hand_is_used_without_any_connection(get, tmp_path):
    url = "http://127.0.0.1:9/model.bin"
    with pytest.raises(DownloadError, match="nothing answers") as caught:
        get(url)
    target = cached_path(url, tmp_path)
    assert f"put it at {target}," in str(caught.value)
    target.write_bytes(BODY)
    assert get(url) == target


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (404, "no such file"),
        (410, "no such file"),
        (401, "refuses access"),
        (403, "refuses access"),
        (418, "status 418"),
    ],
)
def test_a_final_status_is_said_at_once_and_not_asked_again(server, get, tmp_path, status, sentence):
    with pytest.raises(DownloadError, match=rf"{sentence}.*mirror.*by hand") as caught:
        get(server.put("/model.bin", BODY, statuses=[status] * 9))
    assert f"{server.url}/model.bin" in str(caught.value)
    assert str(status) in str(caught.value)
    assert len(server.requests) == 1
    assert names_in(tmp_path) == []


def test_a_busy_server_is_asked_again_and_then_given_up(server, get):
    assert get(server.put("/late.bin", BODY, statuses=[503, 429, 500])).read_bytes() == BODY
    with pytest.raises(DownloadError, match=r"busy or broken \(503\) \(attempt 4, the last\)"):
        get(server.put("/never.bin", BODY, statuses=[503] * 9))


def test_a_server_that_says_when_to_come_back_is_given_that_time(server, get):
    started = time.monotonic()
    get(server.put("/model.bin", BODY, statuses=[503], headers={"Retry-After": "1"}))
    assert 1.0 <= time.monotonic() - started < 5


def test_a_silent_server_is_a_timeout(server, get):
    started = time.monotonic()
    with pytest.raises(DownloadError, match=r"timeout: the server was silent for longer than 0\.15 s"):
        get(server.put("/model.bin", silent=True), timeout=0.15)
    assert time.monotonic() - started < 3


def test_a_server_that_drips_is_too_slow(server, get):
    with pytest.raises(DownloadError, match=r"slower than 1024 bytes a second over 0\.2 s"):
        get(server.put("/model.bin", BODY[:60], ranges=False, pace=(1, 0.05)), timeout=0.2)


def test_a_slow_server_that_keeps_coming_is_waited_for(server, get):
    assert get(server.put("/model.bin", BODY, pace=(30_000, 0.05)), timeout=0.2).read_bytes() == BODY


def test_a_refused_connection_says_that_nothing_answers(get):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(DownloadError, match=f"127.0.0.1:{port}/model.bin could not be downloaded: no connection"):
        get(f"http://127.0.0.1:{port}/model.bin")


def test_an_unknown_host_says_that_there_is_no_network_or_no_such_server(get, monkeypatch):
    def unknown(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(DownloadError, match="no network, or no server of that name"):
        get("http://weights.invalid/model.bin")


def test_redirects_are_followed_and_the_range_goes_along(server, get):
    server.put("/real.bin", BODY, cuts=[100_000])
    moved = [301, 302, 307, 308] * 2
    url = server.put("/model.bin", statuses=moved, headers={"Location": "/real.bin"})
    assert get(url).read_bytes() == BODY
    assert [headers.get("Range", "") for path, headers in server.requests if path == "/real.bin"] == [
        "",
        "bytes=100000-",
    ]


def test_redirects_in_a_circle_end(server, get):
    with pytest.raises(DownloadError, match="in a circle"):
        get(server.put("/model.bin", statuses=[302] * 99, headers={"Location": "/model.bin"}))
    assert len(server.requests) < 10


@pytest.mark.parametrize("target", ["file:///etc/hostname", "ftp://127.0.0.1/model.bin", "data:,hello"])
def test_redirects_lead_to_http_and_https_only(server, get, tmp_path, target):
    with pytest.raises(DownloadError, match="only http and https are followed"):
        get(server.put("/model.bin", statuses=[302] * 9, headers={"Location": target}))
    assert names_in(tmp_path) == []


def test_a_redirect_from_https_to_http_is_refused():
    request = urllib.request.Request("https://example.org/model.bin")
    with pytest.raises(transfer.LastingError, match="from https to http"):
        transfer._Redirects().http_error_302(request, io.BytesIO(), 302, "Found", {"location": "http://example.org/x"})


@pytest.mark.parametrize(
    "url",
    ["file:///etc/hostname", "/etc/hostname", "ftp://127.0.0.1/x", "http:///x", "http://[::1/x", "http://a b/c", ""],
)
def test_what_is_no_http_url_is_refused_before_anything_happens(get, tmp_path, url):
    with pytest.raises(DownloadError, match="expected an http or https URL"):
        get(url)
    assert names_in(tmp_path) == []


def test_secrets_in_a_url_go_to_its_server_and_into_no_message(server, get):
    other = FileServer()
    try:
        target = other.put("/elsewhere.bin", statuses=[404])
        server.put("/model.bin?token=hidden2", statuses=[302], headers={"Location": target})
        with pytest.raises(DownloadError) as caught:
            get(server.url.replace("://", "://user:hidden1@") + "/model.bin?token=hidden2")
        assert "hidden" not in str(caught.value)
        assert "user" not in str(caught.value)
        assert server.asked("Authorization") == ["Basic dXNlcjpoaWRkZW4x"]  # user:hidden1
        assert other.asked("Authorization") == [""]
    finally:
        other.close()


def test_a_compressed_answer_is_refused(server, get):
    with pytest.raises(DownloadError, match="compressed"):
        get(server.put("/model.bin", BODY, headers={"Content-Encoding": "gzip"}))


def test_names_from_a_url_stay_inside_the_cache(server, get, tmp_path):
    for path in ("/..%2F..%2Fevil", "/%2e%2e", "/a%00b", "/"):
        found = get(server.put(path, BODY))
        assert found.resolve().parent.parent == tmp_path.resolve()
        assert not found.name.startswith(".")


def test_a_full_disk_is_said_before_and_during_the_transfer(server, get, tmp_path, monkeypatch):
    url = server.put("/model.bin", BODY)
    monkeypatch.setattr(transfer.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1000}))
    with pytest.raises(DownloadError, match=r"the disk is full: 0\.3 MB are to come and 1000 bytes are free"):
        get(url)
    monkeypatch.undo()

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(transfer, "_copy", full)
    with pytest.raises(DownloadError, match="cannot be used: No space left on device; cache_dir="):
        get(url)
    assert not cached_path(url, tmp_path).exists()


def test_a_cache_that_cannot_be_made_names_the_parameter(server, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DownloadError, match=r"cannot be used.*cache_dir="):
        download(server.put("/model.bin", BODY), cache_dir=tmp_path / "file")


def test_a_file_system_without_locks_is_used_without_them(server, get, tmp_path, monkeypatch):
    def unsupported(descriptor):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("vitlib.hub.file_lock._try_lock", unsupported)
    assert get(server.put("/model.bin", BODY, cuts=[1000])).read_bytes() == BODY
    with pytest.raises(DownloadError):
        get(server.put("/other.bin", BODY, cuts=[1000] * 9, ranges=False))
    assert names_in(tmp_path) == ["model.bin"]


def test_threads_and_processes_that_want_the_same_file_fetch_it_once(server, get, tmp_path):
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
    url = server.put("/model.bin", BODY, pace=(20_000, 0.2))
    target = cached_path(url, tmp_path)
    part = target.with_name(".model.bin.part")
    process = in_process(url, tmp_path)
    try:
        assert wait_until(lambda: part.exists() and part.stat().st_size >= 20_000)
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.communicate(timeout=10)
    assert not target.exists()
    kept = part.stat().st_size
    assert 0 < kept < len(BODY)
    server.files["/model.bin"].pace = (0, 0.0)
    started = time.monotonic()
    assert get(url).read_bytes() == BODY
    assert time.monotonic() - started < 5
    assert server.asked("Range")[-1] == f"bytes={kept}-"


def test_a_lock_excludes_others_until_it_is_left(tmp_path):
    order = []

    def second():
        with file_lock(tmp_path / "lock", lambda: order.append("waits")):
            order.append("second")

    with file_lock(tmp_path / "lock") as held:
        assert held
        thread = threading.Thread(target=second)
        thread.start()
        assert wait_until(lambda: order == ["waits"])
        order.append("first")
    thread.join(5)
    assert order == ["waits", "first", "second"]


def test_the_cache_is_where_xdg_says(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache_dir() == tmp_path / "vitlib"
    for value in ("", "relative/path"):  # the specification has relative paths ignored
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert default_cache_dir() == Path.home() / ".cache" / "vitlib"


@pytest.mark.parametrize("options", [{"timeout": 0}, {"timeout": float("nan")}, {"sha256": "xyz"}, {"sha256": "abc"}])
def test_options_that_cannot_be_meant_are_value_errors(get, options):
    with pytest.raises(ValueError, match=r"timeout=|sha256="):
        get("http://127.0.0.1:9/x", **options)


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("stream", "show", "expected"),
    [(io.StringIO, None, False), (io.StringIO, True, True), (Terminal, None, True), (Terminal, False, False)],
)
@pytest.mark.parametrize("tqdm", [True, False])
def test_progress_is_shown_on_a_terminal_or_when_asked_for(server, get, monkeypatch, stream, show, expected, tqdm):
    if tqdm:
        pytest.importorskip("tqdm")
    else:
        monkeypatch.setitem(sys.modules, "tqdm", None)
    screen = stream()
    with contextlib.redirect_stderr(screen):
        get(server.put("/model.bin", BODY, cuts=[100_000]), progress=show)
    assert bool(screen.getvalue()) == expected
    assert ("model.bin" in screen.getvalue() and "100%" in screen.getvalue()) == expected
