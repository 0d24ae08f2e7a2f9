"""The search page at /: static files that load nothing from other sites."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fastapi import APIRouter, Request
from starlette.responses import Response

from cliphouse.errors import MissingError

router = APIRouter(include_in_schema=False)
_FOLDER = Path(__file__).parent / "static"
_MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
# Scripts come only from the page's own files; pictures come from the rows' urls. Text never becomes
# markup, because the browser refuses to parse it.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' https: http: data: blob:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)


@dataclass(frozen=True)
class PageFile:
    """A file of the page, its content type, and an ETag for this version."""

    data: bytes
    media_type: str
    etag: str


@cache
def page_files() -> dict[str, PageFile]:
    """Read the files of the page, by name."""
    return {path.name: _read(path) for path in _FOLDER.iterdir() if path.suffix in _MEDIA_TYPES}


@router.api_route("/", methods=["GET", "HEAD"])
async def index(request: Request) -> Response:
    return _send(request, "index.html")


@router.api_route("/page/{name}", methods=["GET", "HEAD"])
async def file(request: Request, name: str) -> Response:
    return _send(request, name)


def _send(request: Request, name: str) -> Response:
    """Send a file. The browser revalidates its copy each time, so a page never mixes versions."""
    found = page_files().get(name)
    if found is None:
        raise MissingError("the page has no such file")
    headers = {
        "Content-Security-Policy": _POLICY,
        "ETag": found.etag,
        "Cache-Control": "no-cache",
        "Cross-Origin-Resource-Policy": "same-origin",
    }
    if request.headers.get("if-none-match") == found.etag:
        return Response(status_code=304, headers=headers)
    return Response(found.data, headers=headers, media_type=found.media_type)


def _read(path: Path) -> PageFile:
    data = path.read_bytes()
    tag = f'"{hashlib.sha256(data).hexdigest()[:32]}"'
    return PageFile(data, _MEDIA_TYPES[path.suffix], tag)
