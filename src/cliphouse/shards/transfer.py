"""Fetching a file once: over HTTP, or from any store that fsspec opens.

A fetch goes on where the partial file ends if the store still has the same version of the file;
otherwise it starts from the beginning. If it fails, the bytes that arrived stay.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any, Protocol

import httpx

from cliphouse.errors import CliphouseError, UserError
from cliphouse.shards.files import choose_fs, entry_version
from cliphouse.shards.partial_file import FileError, FileVersion, PartialFile
from cliphouse.shards.urls import is_http, redact

_BLOCK = 2**20  # bytes read at once from an fsspec store
_READ_AHEAD = 8 * 2**20

OnArrival = Callable[[], None]


class FileMissingError(FileError):
    """The store does not have the file."""


class TransientError(FileError):
    """The next attempt may succeed. The server asks for a pause of ``wait`` seconds; ``reached``
    says whether it answered at all."""

    def __init__(self, reason: str, wait: float | None = None, reached: bool = True) -> None:
        super().__init__(reason)
        self.wait, self.reached = wait, reached


class Store(Protocol):
    """A store that files are fetched from."""

    def exists(self, url: str) -> bool:
        """Whether there is such a file. Raises TransientError if the store does not say so now."""

    def fetch(self, url: str, part: PartialFile, on_arrival: OnArrival) -> None:
        """Try once to complete ``part``; ``on_arrival`` is called whenever bytes have arrived.

        Raises FileMissingError, TransientError, or FileError if another attempt would fail too.
        """

    def close(self) -> None: ...


def open_store(source: str, timeout: float) -> Store:
    """Open the store at an address; an HTTP server that is silent for ``timeout`` seconds fails.

    Raises UserError if no library can open such an address.
    """
    return HttpStore(source, timeout) if is_http(source) else FsspecStore(source)


class HttpStore:
    """A web server, with or without support of Range requests."""

    def __init__(self, source: str, timeout: float) -> None:
        try:
            httpx.URL(source)
        except httpx.InvalidURL as error:
            raise UserError(f"{redact(source)}: {error}") from error
        self._timeout = timeout
        self._client = httpx.Client(
            follow_redirects=True,
            timeout=timeout,
            limits=httpx.Limits(max_connections=None),
            # Ranges and lengths must count the bytes of the file, not of a compressed form.
            headers={"Accept-Encoding": "identity", "User-Agent": "cliphouse"},
        )

    def exists(self, url: str) -> bool:
        with self._transport_errors():
            response = self._client.head(url)
            if response.status_code not in (400, 403, 405, 501):
                return self._is_there(response)
            # Some servers answer only GET.
            with self._client.stream("GET", url, headers={"Range": "bytes=0-0"}) as response:
                return self._is_there(response)

    def fetch(self, url: str, part: PartialFile, on_arrival: OnArrival) -> None:
        headers = _resume_headers(part, redact(url))
        with (
            self._transport_errors(),
            self._client.stream("GET", url, headers=headers) as response,
        ):
            self._begin(response, url, part)
            on_arrival()
            for data in response.iter_raw():
                part.write(data)
                on_arrival()
        _check_length(part)

    def close(self) -> None:
        self._client.close()

    def _is_there(self, response: httpx.Response) -> bool:
        if response.status_code < 400 or response.status_code == 416:
            return True
        refusal = _refusal(response)
        if isinstance(refusal, TransientError):
            raise refusal
        return False

    def _begin(self, response: httpx.Response, url: str, part: PartialFile) -> None:
        """Prepare the partial file for the body. Raises FileError if there is no body to read."""
        status, headers = response.status_code, response.headers
        if headers.get("Content-Encoding", "identity") != "identity":
            raise FileError(
                f"sent in the encoding {headers['Content-Encoding']}, which was not asked for"
            )
        if status == 206 and _continues(headers, part):
            return
        if status in (206, 416):
            part.discard()
            raise TransientError("the file has changed since the last attempt; starting again")
        if status != 200:
            raise _refusal(response)
        size = headers.get("Content-Length")
        part.restart(
            FileVersion(
                redact(url),
                headers.get("ETag", ""),
                headers.get("Last-Modified", ""),
                int(size) if size else None,
            )
        )

    @contextmanager
    def _transport_errors(self) -> Iterator[None]:
        try:
            yield
        except (httpx.TooManyRedirects, httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            raise FileError(f"cannot be fetched: {error}") from error
        except httpx.TimeoutException as error:
            reached = not isinstance(error, httpx.ConnectTimeout)
            raise TransientError(f"silent for {self._timeout:g} s", reached=reached) from error
        except httpx.HTTPError as error:
            reached = not isinstance(error, (httpx.ConnectError, httpx.ProxyError))
            what = "connection broke" if reached else "no connection"
            detail = str(error) or type(error).__name__
            raise TransientError(f"{what}: {detail}", reached=reached) from error


def _resume_headers(part: PartialFile, url: str) -> dict[str, str]:
    """Range and If-Range if the partial file is of this URL and its version can be compared."""
    version = part.version
    if not part.size or version is None or version.url != url:
        return {}
    # A weak ETag does not promise equal bytes. Nor does an equal size: shards are of one size.
    validator = version.modified if version.etag.startswith("W/") else version.etag
    validator = validator or version.modified
    return {"Range": f"bytes={part.size}-", "If-Range": validator} if validator else {}


def _continues(headers: httpx.Headers, part: PartialFile) -> bool:
    """Whether a 206 starts where the partial file ends, in the same version of the file."""
    span = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", headers.get("Content-Range", "").strip())
    version = part.version
    if span is None or version is None or int(span[1]) != part.size or not part.size:
        return False
    same_size = span[3] == "*" or version.size in (None, int(span[3]))
    same_etag = headers.get("ETag", "") == version.etag
    # A server that sends an ETag need not repeat the date.
    same_date = headers.get("Last-Modified", version.modified) == version.modified
    return same_size and same_etag and same_date


def _check_length(part: PartialFile) -> None:
    size = part.version.size if part.version else None
    if size is None or part.size == size:
        return
    if part.size > size:
        part.discard()
        raise TransientError(f"longer than the {size:,} bytes that the server announced")
    raise TransientError(f"ended after {part.size:,} of {size:,} bytes")


def _refusal(response: httpx.Response) -> FileError:
    status = response.status_code
    text = f"{status} {response.reason_phrase}".strip()
    if status in (404, 410):
        return FileMissingError(f"not there ({text})")
    if status in (408, 425, 429) or status >= 500:
        return TransientError(
            text, wait=retry_after_seconds(response.headers.get("Retry-After", ""))
        )
    return FileError(f"refused ({text})")


def retry_after_seconds(text: str) -> float | None:
    """Seconds from now, given as a number or an HTTP date; None if it is neither."""
    if re.fullmatch(r"\d{1,9}", text.strip(), re.ASCII):
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return max(0.0, (moment - datetime.now(timezone.utc)).total_seconds())


class FsspecStore:
    """Anything that fsspec opens: s3://, gs://, hf://, file:// and plain paths."""

    def __init__(self, source: str, block: int = _BLOCK) -> None:
        self._block = block
        try:
            self._fs, _ = choose_fs(source)
        except ImportError as error:
            raise UserError(f"{redact(source)}: {error}") from error
        except Exception as error:
            raise UserError(f"{redact(source)}: cannot be opened: {error}") from error

    def exists(self, url: str) -> bool:
        with _backend_errors():
            try:
                return bool(self._fs.info(_path(url))["type"] == "file")
            except FileNotFoundError:
                return False

    def fetch(self, url: str, part: PartialFile, on_arrival: OnArrival) -> None:
        with _backend_errors():
            path = _path(url)
            version = self._version(url, path)
            if part.version != version or not version.etag:
                part.restart(version)
            on_arrival()
            with self._fs.open(path, "rb", block_size=_READ_AHEAD) as stream:
                stream.seek(part.size)
                while data := stream.read(self._block):
                    part.write(data)
                    on_arrival()
            if self._version(url, path) != version:
                part.discard()
                raise TransientError("the file changed while it was read; starting again")
        _check_length(part)

    def close(self) -> None:
        pass

    def _version(self, url: str, path: str) -> FileVersion:
        self._fs.invalidate_cache(self._fs._parent(path))  # a cached listing may be old
        info: dict[str, Any] = self._fs.info(path)
        version = entry_version(info)
        size = info.get("size")
        return FileVersion(redact(url), version, "", None if size is None else int(size))


def _path(url: str) -> str:
    return str(choose_fs(url)[1])


@contextmanager
def _backend_errors() -> Iterator[None]:
    try:
        yield
    except CliphouseError:
        raise
    except FileNotFoundError as error:
        raise FileMissingError("not there") from error
    except PermissionError as error:
        raise FileError(f"refused ({error})") from error
    except Exception as error:
        detail = " ".join(str(error).split()) or type(error).__name__
        raise TransientError(f"reading failed: {detail}", reached=False) from error
