"""A file server on 127.0.0.1 with the faults that servers and networks have."""

from __future__ import annotations

import threading
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
    pace: tuple[int, float] = (1 << 16, 0.0)  # bytes at a time, seconds before each
    after: Callable[[Served], None] | None = None  # called when a request has been answered


class FileServer:
    def __init__(self) -> None:
        self.files: dict[str, Served] = {}
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.stopping = threading.Event()
        handler = type("Handler", (_Handler,), {"owner": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def put(self, path: str, body: bytes = b"", **faults) -> str:
        self.files[path] = Served(body, **faults)
        return self.url + path

    def asked(self, header: str) -> list[str]:
        return [headers.get(header.lower(), "") for _, headers in self.requests]

    def close(self) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    owner: FileServer
    protocol_version = "HTTP/1.1"
    timeout = 10

    def log_message(self, *_) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(self.owner.files.get(self.path, Served(statuses=[404])), head=True)

    def do_GET(self) -> None:
        self.owner.requests.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
        served = self.owner.files.get(self.path, Served(statuses=[404]))
        with suppress(BrokenPipeError, ConnectionResetError):  # the client left, as a killed one does
            self._answer(served)
        if served.after:
            served.after(served)

    def _answer(self, served: Served, head: bool = False) -> None:
        self.close_connection = True
        body, status, extra = served.body, 200, {"Connection": "close", **served.headers}
        same = self.headers.get("If-Range") in (None, served.etag)
        if served.statuses:
            status, body = served.statuses.pop(0), b""
        elif "Range" in self.headers and (served.careless or (served.ranges and same)):
            first, _, last = self.headers["Range"].removeprefix("bytes=").partition("-")
            start, end = int(first), min(int(last or len(body) - 1), len(body) - 1)
            status, extra["Content-Range"] = 206, f"bytes {start}-{end}/{len(body)}"
            if start >= len(body):
                status, extra["Content-Range"] = 416, f"bytes */{len(body)}"
            body = body[start : end + 1]
        extra |= {"ETag": served.etag} if served.etag else {}
        extra |= {"Transfer-Encoding": "chunked"} if served.chunked else {}
        extra |= {"Content-Length": str(len(body))} if served.length and not served.chunked else {}
        self.send_response(status)
        for name, value in extra.items():
            self.send_header(name, value)
        self.end_headers()
        whole, body = len(body), body[: served.cuts.pop(0)] if served.cuts and not head else body
        step, pause = served.pace
        for start in range(0, 0 if head else len(body), step):
            if self.owner.stopping.wait(pause):
                return
            piece = body[start : start + step]
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if served.chunked else piece)
        if served.chunked and len(body) == whole:
            self.wfile.write(b"0\r\n\r\n")
