"""A file server on 127.0.0.1 with the faults that servers and networks have."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Served:
    """What stands at one path. Faults: `cuts` are the bytes after which the connections break, one for each request,
    `statuses` come before anything else, one for each request."""

    body: bytes = b""
    etag: str = '"first"'
    ranges: bool = True
    careless: bool = False  # continues whatever If-Range says
    length: bool = True
    chunked: bool = False
    cuts: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    pace: tuple[int, float] = (0, 0.0)  # bytes at a time, seconds between
    silent: bool = False
    after: Callable[[Served], None] | None = None  # called when a request has been answered


class FileServer:
    def __init__(self) -> None:
        self.files: dict[str, Served] = {}
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.stopping = threading.Event()
        outer = self

        class Handler(_Handler):
            owner = outer

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def put(self, path: str, body: bytes = b"", **faults) -> str:
        self.files[path] = Served(body, **faults)
        return self.url + path

    def asked(self, header: str) -> list[str]:
        return [headers.get(header, "") for _, headers in self.requests]

    def close(self) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


class _Handler(BaseHTTPRequestHandler):
    owner: FileServer
    protocol_version = "HTTP/1.1"
    timeout = 10

    def log_message(self, *_) -> None:
        pass

    def do_HEAD(self) -> None:
        self.close_connection = True
        self._answer(self.owner.files.get(self.path, Served(statuses=[404])), head=True)

    def do_GET(self) -> None:
        self.owner.requests.append((self.path, dict(self.headers)))
        self.close_connection = True
        served = self.owner.files.get(self.path, Served(statuses=[404]))
        with suppress(BrokenPipeError, ConnectionResetError):  # the client left, as a killed one does
            self._answer(served)
        if served.after:
            served.after(served)

    def _same(self, served: Served) -> bool:
        return self.headers.get("If-Range") in (None, served.etag)

    def _answer(self, served: Served, head: bool = False) -> None:
        if served.silent:
            self.owner.stopping.wait(10)
            return
        body, status, extra = served.body, 200, dict(served.headers)
        if served.statuses:
            status, body = served.statuses.pop(0), b""
        elif "Range" in self.headers and (served.careless or (served.ranges and self._same(served))):
            start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
            if start >= len(body):
                status, extra["Content-Range"], body = 416, f"bytes */{len(body)}", b""
            else:
                status, extra["Content-Range"] = 206, f"bytes {start}-{len(body) - 1}/{len(body)}"
                body = body[start:]
        self.send_response(status)
        self.send_header("Connection", "close")
        if served.length and not served.chunked:
            self.send_header("Content-Length", str(len(body)))
        if served.etag:
            self.send_header("ETag", served.etag)
        if served.chunked:
            self.send_header("Transfer-Encoding", "chunked")
        for name, value in extra.items():
            self.send_header(name, value)
        self.end_headers()
        if head:
            return
        whole, body = len(body), body[: served.cuts.pop(0)] if served.cuts else body
        step, pause = served.pace
        for start in range(0, len(body), step or len(body) or 1):
            piece = body[start : start + (step or len(body))]
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if served.chunked else piece)
            if pause:
                self.wfile.flush()
                if self.owner.stopping.wait(pause):
                    return
        if served.chunked and len(body) == whole:
            self.wfile.write(b"0\r\n\r\n")


def wait_until(condition: Callable[[], object], seconds: float = 8.0) -> bool:
    """Whether the condition came true within this time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.01)
    return False
