"""The search page at /: static files that load nothing from other sites."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.parse import quote

from fastapi import APIRouter, Request
from starlette.responses import Response

from cliphouse.errors import MissingError
from cliphouse.server.api import service_of

router = APIRouter(include_in_schema=False)
_FOLDER = Path(__file__).parent / "static"
_MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
# Scripts come only from the page's own files, videos from this service, and pictures from the rows'
# urls. Text never becomes markup, because the browser refuses to parse it.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' https: http: data: blob:; media-src 'self' blob:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; "
    "trusted-types 'none'"
)


_INDEX = "index.html"
_ROOT = b"/page/"
_NO_CACHE = "no-cache"  # the browser asks each time whether its copy is the newest
_FOR_EVER = "public, max-age=31536000, immutable"
_UNESCAPED = "!~*'()"  # by encodeURIComponent, which the page calls


@dataclass(frozen=True)
class PageFile:
    """A file of the page, its content type, and an ETag for this version."""

    data: bytes
    media_type: str
    etag: str


@dataclass(frozen=True)
class PageFiles:
    """The files of the page by name, and what their version is called. The index names the others
    with the version, so a page never mixes versions."""

    version: str
    by_name: dict[str, PageFile]


@cache
def page_files() -> PageFiles:
    """Read the files of the page."""
    paths = sorted(path for path in _FOLDER.iterdir() if path.suffix in _MEDIA_TYPES)
    texts = {path.name: path.read_bytes() for path in paths}
    version = _digest(b"".join(texts.values()))[:12]
    texts[_INDEX] = texts[_INDEX].replace(_ROOT, b"%s%s/" % (_ROOT, version.encode()))
    return PageFiles(version, {name: _file(name, data) for name, data in texts.items()})


@router.api_route("/", methods=["GET", "HEAD"])
async def index(request: Request) -> Response:
    """The page. The browser is told to ask for its first data at once, beside the scripts."""
    answer = _send(request, _INDEX, _NO_CACHE)
    if not service_of(request).settings.keys:  # the page alone can send one
        first = f"<{_first_request(request)}>; rel=preload; as=fetch; crossorigin"
        answer.headers["Link"] = first
    return answer


@router.api_route("/page/{name}", methods=["GET", "HEAD"])
async def file(request: Request, name: str) -> Response:
    return _send(request, name, _NO_CACHE)


@router.api_route("/page/{version}/{name}", methods=["GET", "HEAD"])
async def versioned_file(request: Request, version: str, name: str) -> Response:
    is_current = version == page_files().version
    return _send(request, name, _FOR_EVER if is_current else _NO_CACHE)


def _first_request(request: Request) -> str:
    """What the page asks for first, as start.js says it."""
    asked = request.query_params
    path = "/api/start" if set(asked) <= {"table", "item"} else "/api/info"
    table = asked.get("table")
    return f"{path}?table={quote(table, safe=_UNESCAPED)}" if table else path


def _send(request: Request, name: str, kept: str) -> Response:
    """Send a file that the browser may keep as ``kept`` says."""
    found = page_files().by_name.get(name)
    if found is None:
        raise MissingError("the page has no such file")
    headers = {
        "Content-Security-Policy": _POLICY,
        "ETag": found.etag,
        "Cache-Control": kept,
        "Cross-Origin-Resource-Policy": "same-origin",
    }
    if request.headers.get("if-none-match") == found.etag:
        return Response(status_code=304, headers=headers)
    return Response(found.data, headers=headers, media_type=found.media_type)


def _file(name: str, data: bytes) -> PageFile:
    return PageFile(data, _MEDIA_TYPES[Path(name).suffix], f'"{_digest(data)}"')


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]
