"""One HTTP transfer into a file, continuing what an earlier one left there."""

from __future__ import annotations

import base64
import http.client
import json
import re
import shutil
import socket
import ssl
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urljoin, urlsplit, urlunsplit

from .progress import Progress, megabytes

_CHUNK = 1 << 18
_MAX_BYTES = 64 << 30  # a server that never stops must not fill the disk
_MAX_REDIRECTS = 5
_SLOWEST = 1024  # bytes a second, on average over one timeout
_PASSING = {408, 425, 429, 500, 502, 503, 504}  # statuses that are worth another attempt


class PassingError(Exception):
    """The transfer broke off for a reason that may pass; `wait`: seconds the server asked for."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


class LastingError(Exception):
    """The transfer cannot succeed by trying again."""


def shown(url: str) -> str:
    """The URL without what may be secret in it: user, password and query."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "the URL"
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "..." if parts.query else "", ""))


class _Redirects(urllib.request.HTTPRedirectHandler):
    max_redirections = _MAX_REDIRECTS
    max_repeats = 2

    def http_error_302(self, req: Any, fp: Any, code: int, msg: str, headers: Any) -> Any:
        target = urljoin(req.full_url, headers.get("location", ""))
        old, new = (urlsplit(url).scheme.lower() for url in (req.full_url, target))
        if new not in ("http", "https"):
            raise LastingError(f"the server redirects to {new or 'nothing'}:, and only http and https are followed")
        if (old, new) == ("https", "http"):
            raise LastingError(f"the server redirects from https to http ({shown(target)}), where anybody could answer")
        return super().http_error_302(req, fp, code, msg, headers)

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        # Python 3.10 does not know 308, which for a GET is 307
        return super().redirect_request(req, fp, 307 if code == 308 else code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    """HTTP and HTTPS alone: `urllib.request.build_opener` would also read files and FTP. Proxies as for urllib."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        _Redirects(),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener


class PartialFile:
    """The beginning of a file, and beside it what says of which version on the server it is the beginning."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._note = path.with_name(f"{path.name}.json")

    def resume_point(self) -> tuple[int, str]:
        """The number of bytes to keep and the server's validator for them; (0, "") to begin anew."""
        try:
            note = json.loads(self._note.read_text())
            validator, total, size = note["validator"], note["total"], self.path.stat().st_size
        except (OSError, ValueError, KeyError, TypeError):
            return 0, ""
        if not isinstance(validator, str) or not validator or not isinstance(total, int) or size > total:
            return 0, ""
        # A range must not be empty: of a file that only lacks its name, the last byte comes once more
        return min(size, total - 1), validator

    def note(self, validator: str, total: int | None) -> None:
        if validator and total:
            self._note.write_text(json.dumps({"validator": validator, "total": total}))
        else:
            self._note.unlink(missing_ok=True)

    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def remove(self) -> None:
        for path in (self.path, self._note):
            with suppress(OSError):
                path.unlink(missing_ok=True)

    def forget_note(self) -> None:
        with suppress(OSError):
            self._note.unlink(missing_ok=True)


def transfer(url: str, part: PartialFile, *, timeout: float, hashed: bool, progress: Progress) -> bool:
    """Completes `part`; says whether it continued an earlier beginning.

    hashed: the caller checks the contents, so that a length is not needed to tell a cut file.

    Raises PassingError where trying again may help, LastingError where not, and OSError when the disk does not take it.
    """
    kept, validator = part.resume_point()
    try:
        response = _opener().open(_request(url, kept, validator), timeout=timeout)
    except urllib.error.HTTPError as error:
        with error:
            raise _status(error, part) from None
    except urllib.error.URLError as error:
        raise _network(error.reason, timeout) from None
    except (OSError, http.client.HTTPException) as error:
        raise _network(error, timeout) from None
    except ValueError as error:  # a host name that no server can have
        raise LastingError(f"the URL is not valid ({error})") from None
    with response:
        start, total = _agreed(response, kept, validator, part)
        if total is None and not response.chunked and not hashed:
            raise LastingError("the server does not say how long the file is, and without a sha256 a cut one passes")
        _room(part, start, total)
        progress.start(start, total)
        with open(part.path, "r+b" if start else "wb") as file:
            if start:
                file.truncate(start)
                file.seek(start)
            else:  # only now that what another version left is gone
                part.note(_validator(response), total)
            received = _copy(response, file, start, total, timeout, progress)
    if total is not None and received < total:
        raise PassingError(f"the connection ended after {received} of {total} bytes")
    return start > 0


def _request(url: str, kept: int, validator: str) -> urllib.request.Request:
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    path, query = (quote(part, safe="%/:=&?~+!$,;'@()*[]") for part in (parts.path or "/", parts.query))
    request = urllib.request.Request(urlunsplit((parts.scheme, host, path, query, "")))
    request.add_header("User-Agent", "vitlib")
    request.add_header("Accept-Encoding", "identity")
    if at:  # not sent along to where the server redirects
        token = base64.b64encode(unquote(user).encode()).decode()
        request.add_unredirected_header("Authorization", f"Basic {token}")
    if kept:
        request.add_header("Range", f"bytes={kept}-")
        request.add_header("If-Range", validator)
    return request


def _validator(response: Any) -> str:
    """A strong ETag, else the date; weak ETags do not promise the same bytes."""
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else response.headers.get("Last-Modified", "")


def _agreed(response: Any, kept: int, validator: str, part: PartialFile) -> tuple[int, int | None]:
    """Where the body begins in the file, and the length of the whole file if the server says it."""
    if response.headers.get("Content-Encoding", "identity").lower() not in ("", "identity"):
        raise LastingError("the server sent the file compressed although it was asked not to")
    if response.status == 200:
        length = response.headers.get("Content-Length", "")
        return 0, int(length) if length.isdecimal() and not response.chunked else None
    span = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", response.headers.get("Content-Range", "").strip())
    if response.status != 206:
        raise LastingError(f"the server answered with status {response.status}")
    if not kept or not span or int(span[1]) != kept or _validator(response) not in ("", validator):
        part.remove()
        raise PassingError("the server did not continue the same file where it was asked to")
    return kept, int(span[3])


def _room(part: PartialFile, start: int, total: int | None) -> None:
    if total is None:
        return
    free = shutil.disk_usage(part.path.parent).free
    if total > _MAX_BYTES:
        raise LastingError(f"the server announces {megabytes(total)}; the limit is {megabytes(_MAX_BYTES)}")
    if total - start > free + part.size() - start:
        raise LastingError(f"the disk is full: {megabytes(total - start)} are to come and {megabytes(free)} are free")


def _copy(response: Any, file: Any, done: int, total: int | None, timeout: float, progress: Progress) -> int:
    begun, before = time.monotonic(), done
    while True:
        try:
            data = response.read1(_CHUNK)
        except (OSError, http.client.HTTPException) as error:
            raise _network(error, timeout) from None
        if not data:
            return done
        file.write(data)
        done += len(data)
        progress.add(len(data))
        if done > (_MAX_BYTES if total is None else total):
            raise LastingError("the server sends more than it announced, or more than any weight file holds")
        elapsed = time.monotonic() - begun
        if elapsed >= timeout and done != total:
            if done - before < _SLOWEST * elapsed:
                raise PassingError(f"the server is slower than {_SLOWEST} bytes a second over {timeout:g} s")
            begun, before = time.monotonic(), done


def _status(error: urllib.error.HTTPError, part: PartialFile) -> Exception:
    code = error.code
    if code == 416:  # the file there has become shorter
        part.remove()
        return PassingError("the server no longer has the part that was asked for (416)")
    if code in (404, 410):
        return LastingError(f"the server has no such file ({code})")
    if code in (401, 403, 407):
        return LastingError(f"the server refuses access ({code})")
    if 300 <= code < 400:
        return LastingError(f"the server redirects over {_MAX_REDIRECTS} times, in a circle or to nowhere ({code})")
    if code in _PASSING:
        asked = error.headers.get("Retry-After", "")
        wait = min(float(asked), 30.0) if asked.isdecimal() else 0.0
        return PassingError(f"the server is busy or broken ({code})", wait)
    return LastingError(f"the server answered with status {code}")


def _network(error: object, timeout: float) -> Exception:
    if isinstance(error, ssl.SSLCertVerificationError):
        return LastingError(f"the server's certificate is not trusted ({error.verify_message})")
    if isinstance(error, TimeoutError):
        return PassingError(f"timeout: the server was silent for longer than {timeout:g} s")
    if isinstance(error, socket.gaierror):
        return PassingError("no network, or no server of that name")
    if isinstance(error, ConnectionRefusedError):
        return PassingError("no connection: nothing answers at that address")
    if isinstance(error, str):  # urllib's own sentence
        return LastingError(error)
    if isinstance(error, OSError) and error.errno is not None:
        return PassingError(f"the connection failed ({error.strerror})")
    return PassingError(f"the connection broke off ({type(error).__name__})")
