"""HTTP over httpx: safe redirects, reasons in words, and a body that continues a partial file."""

from __future__ import annotations

import logging
import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

_MAX_BYTES = 64 << 30  # a server that never stops must not fill the disk
_TIMEOUT = 30.0  # seconds of silence
PASSING = {408, 425, 429, 500, 502, 503, 504}  # statuses worth another attempt


class DownloadError(OSError):
    """Something could not be fetched. The text says what, why, and the ways out; secrets in a URL are left out."""


@contextmanager
def open_url(url: str, headers: Mapping[str, str]) -> Iterator[Any]:
    """The `httpx.Response` to a GET request, with status 200, 206 or 416 and its body not yet read.

    Redirects lead to http and https only, never from https to http. httpx sends the URL's user and password and drops
    Authorization on the way to another host. Raises ConnectionError for what may pass, DownloadError for the rest.
    """
    import httpx  # Paddle requires it

    def of_another_thread(record: logging.LogRecord, here: int = threading.get_ident()) -> bool:
        return record.thread != here

    logging.getLogger("httpx").addFilter(of_another_thread)  # it logs whole URLs, with the secrets in them
    try:
        with httpx.Client(timeout=httpx.Timeout(_TIMEOUT, connect=10.0)) as client:
            request = client.build_request("GET", url, headers={"Accept-Encoding": "identity", **headers})
            for _ in range(6):
                with closing(client.send(request, stream=True)) as response:
                    following, status = response.next_request, response.status_code
                    if following is None:
                        if status not in (200, 206, 416):
                            kind = ConnectionError if status in PASSING else DownloadError
                            raise kind(f"the server answered {status} {response.reason_phrase}")
                        yield response
                        return
                schemes = request.url.scheme, following.url.scheme
                if schemes[1] not in ("http", "https") or schemes == ("https", "http"):
                    raise DownloadError("the server redirects from {} to {}, which is not followed".format(*schemes))
                request = following
            raise DownloadError("the server redirects more than 5 times")
    except httpx.TransportError as error:
        raise ConnectionError(f"the connection failed ({type(error).__name__}: {error})") from None
    except (httpx.InvalidURL, ValueError, ImportError) as error:
        raise DownloadError(f"a URL or proxy on the way cannot be used ({error})") from None
    finally:
        logging.getLogger("httpx").removeFilter(of_another_thread)


def continue_file(part: Path, url: str, headers: Mapping[str, str], bar: Callable[..., Any]) -> None:
    """Completes the file `part`, from its end on where the server's validator says that it is the same version."""
    note = part.with_suffix(".validator")
    validator = note.read_text("ascii", "replace") if part.exists() and note.exists() else ""
    # The last byte comes once more: the range after it would be empty if only the name was missing
    kept = part.stat().st_size - 1 if validator and validator.isascii() and validator.isprintable() else 0
    resume = {"Range": f"bytes={kept}-", "If-Range": validator} if kept > 0 else {}
    with open_url(url, {**headers, **resume}) as response:
        etag, length = (response.headers.get(name, "") for name in ("ETag", "Content-Length"))
        found = etag if etag.startswith('"') else response.headers.get("Last-Modified", "")  # weak ETags promise less
        start, chunked = 0, "Transfer-Encoding" in response.headers
        if response.status_code != 200:
            span = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
            if not span or int(span[1]) != kept or found not in ("", validator):
                note.unlink(missing_ok=True)
                raise ConnectionError("the server did not continue the same file")
            start, length, found = kept, span[2], validator
        total = int(length) if length.isdecimal() and (start or not chunked) else None
        if response.headers.get("Content-Encoding", "identity") != "identity" or (total is None and not chunked):
            raise DownloadError("the server sends the file compressed or without its length, so it could be cut off")
        with open(part, "r+b" if start else "wb") as file, bar(start, total) as progress:
            file.seek(start)
            note.write_text(found, "ascii", "replace")
            for data in response.iter_raw():
                progress.update(file.write(data))
                if file.tell() > _MAX_BYTES:
                    raise DownloadError(f"the server sends more than {_MAX_BYTES >> 30} GiB")
            os.fsync(file.fileno())
            if total not in (None, file.tell()):
                raise ConnectionError(f"the transfer ended after {file.tell()} of {total} bytes")
