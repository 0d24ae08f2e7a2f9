"""One try at one file: over HTTP, or from any store that fsspec opens.

A try begins where the part ends if the store still has the same version, else from the start. It
leaves the bytes that came in the part, whatever happens.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any, Protocol

import fsspec
import httpx

from cliphouse.errors import CliphouseError, UserError
from cliphouse.shards.addresses import is_http, shown
from cliphouse.shards.files import entry_version
from cliphouse.shards.part import FileError, Part, Version

_BLOCK = 2**20  # bytes read at once from an fsspec store
_READ_AHEAD = 8 * 2**20

Arrived = Callable[[], None]


class FileMissingError(FileError):
    """The store does not have the file."""


class TransientError(FileError):
    """The next try may go better. ``wait`` is how many seconds the server asks to be left alone,
    ``reached`` whether there was any answer at all."""

    def __init__(self, reason: str, wait: float | None = None, reached: bool = True) -> None:
        super().__init__(reason)
        self.wait, self.reached = wait, reached


class Store(Protocol):
    """Where files come from."""

    def exists(self, url: str) -> bool:
        """Whether there is such a file. Raises TransientError where that cannot be told now."""

    def fetch(self, url: str, part: Part, arrived: Arrived) -> None:
        """One try to make the part whole; ``arrived`` is called whenever bytes came.

        Raises FileMissingError, TransientError, or FileError where trying again is of no use.
        """

    def close(self) -> None: ...


def open_store(source: str, timeout: float) -> Store:
    """The store behind an address; ``timeout`` in seconds is for a silent HTTP server.

    Raises UserError where nothing can open such an address.
    """
    return HttpStore(source, timeout) if is_http(source) else FsspecStore(source)


class HttpStore:
    """A web server, which may know Range or not."""

    def __init__(self, source: str, timeout: float) -> None:
        try:
            httpx.URL(source)
        except httpx.InvalidURL as error:
            raise UserError(f"{shown(source)}: {error}") from error
        self._timeout = timeout
        self._client = httpx.Client(
            follow_redirects=True,
            timeout=timeout,
            limits=httpx.Limits(max_connections=None),
            # Ranges and lengths are of the bytes as they lie on disk, not of a compressed form.
            headers={"Accept-Encoding": "identity", "User-Agent": "cliphouse"},
        )

    def exists(self, url: str) -> bool:
        with self._transport_errors():
            response = self._client.head(url)
            if response.status_code not in (400, 403, 405, 501):
                return self._is_there(response)
            # Some servers answer nothing but GET.
            with self._client.stream("GET", url, headers={"Range": "bytes=0-0"}) as response:
                return self._is_there(response)

    def fetch(self, url: str, part: Part, arrived: Arrived) -> None:
        headers = _resume_headers(part, shown(url))
        with (
            self._transport_errors(),
            self._client.stream("GET", url, headers=headers) as response,
        ):
            self._begin(response, url, part)
            arrived()
            for data in response.iter_raw():
                part.write(data)
                arrived()
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

    def _begin(self, response: httpx.Response, url: str, part: Part) -> None:
        """Leave the part ready for the body. Raises what the status or the headers call for."""
        status, headers = response.status_code, response.headers
        if headers.get("Content-Encoding", "identity") != "identity":
            raise FileError(f"sent as {headers['Content-Encoding']} instead of as it is")
        if status == 206 and _continues(headers, part):
            return
        if status in (206, 416):
            part.discard()
            raise TransientError("it is another file than before; starting again")
        if status != 200:
            raise _refusal(response)
        size = headers.get("Content-Length")
        part.restart(
            Version(
                shown(url),
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


def _resume_headers(part: Part, url: str) -> dict[str, str]:
    """Range and If-Range, where the part is of this address and its version can be told apart."""
    version = part.version
    if not part.size or version is None or version.url != url:
        return {}
    # A weak ETag does not promise equal bytes. Nor does an equal size: all shards have that.
    validator = version.modified if version.etag.startswith("W/") else version.etag
    validator = validator or version.modified
    return {"Range": f"bytes={part.size}-", "If-Range": validator} if validator else {}


def _continues(headers: httpx.Headers, part: Part) -> bool:
    """Whether a 206 goes on exactly where the part ends, in the same version of the file."""
    span = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", headers.get("Content-Range", "").strip())
    version = part.version
    if span is None or version is None or int(span[1]) != part.size or not part.size:
        return False
    same_size = span[3] == "*" or version.size in (None, int(span[3]))
    same_etag = headers.get("ETag", "") == version.etag
    # With an ETag, a server need not repeat the date.
    same_date = headers.get("Last-Modified", version.modified) == version.modified
    return same_size and same_etag and same_date


def _check_length(part: Part) -> None:
    size = part.version.size if part.version else None
    if size is None or part.size == size:
        return
    if part.size > size:
        part.discard()
        raise TransientError(f"more came than the {size:,} bytes announced")
    raise TransientError(f"ended after {part.size:,} of {size:,} bytes")


def _refusal(response: httpx.Response) -> FileError:
    status = response.status_code
    word = f"{status} {response.reason_phrase}".strip()
    if status in (404, 410):
        return FileMissingError(f"not there ({word})")
    if status in (408, 425, 429) or status >= 500:
        return TransientError(word, wait=_retry_after(response.headers.get("Retry-After", "")))
    return FileError(f"refused ({word})")


def _retry_after(text: str) -> float | None:
    """Seconds from now, of a number of seconds or an HTTP date; None for neither."""
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
    """Anything fsspec opens: s3://, gs://, hf://, file:// and plain paths."""

    def __init__(self, source: str, block: int = _BLOCK) -> None:
        self._block = block
        try:
            self._fs, _ = fsspec.url_to_fs(source)
        except ImportError as error:
            raise UserError(f"{shown(source)}: {error}") from error
        except Exception as error:
            raise UserError(f"{shown(source)}: cannot be opened: {error}") from error

    def exists(self, url: str) -> bool:
        with _backend_errors():
            try:
                return bool(self._fs.info(_path(url))["type"] == "file")
            except FileNotFoundError:
                return False

    def fetch(self, url: str, part: Part, arrived: Arrived) -> None:
        with _backend_errors():
            path = _path(url)
            version = self._version(url, path)
            if part.version != version or not version.etag:
                part.restart(version)
            arrived()
            with self._fs.open(path, "rb", block_size=_READ_AHEAD) as stream:
                stream.seek(part.size)
                while data := stream.read(self._block):
                    part.write(data)
                    arrived()
            if self._version(url, path) != version:
                part.discard()
                raise TransientError("it changed while it was read; starting again")
        _check_length(part)

    def close(self) -> None:
        pass

    def _version(self, url: str, path: str) -> Version:
        self._fs.invalidate_cache(self._fs._parent(path))  # an old listing tells nothing
        info: dict[str, Any] = self._fs.info(path)
        version = entry_version(info)
        size = info.get("size")
        return Version(shown(url), version, "", None if size is None else int(size))


def _path(url: str) -> str:
    return str(fsspec.url_to_fs(url)[1])


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
