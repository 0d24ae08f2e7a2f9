"""The route /api/pictures/zip: the files of several rows' pictures as one zip file."""

from __future__ import annotations

import asyncio
import io
import zipfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import chain, count
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import Field
from starlette.concurrency import iterate_in_threadpool
from starlette.responses import Response, StreamingResponse

from cliphouse.errors import MissingError
from cliphouse.server.api import service_of
from cliphouse.server.failures import RESPONSES
from cliphouse.server.images import Pictures
from cliphouse.server.schema import Id, Name
from cliphouse.server.strict import Strict

router = APIRouter(prefix="/api", responses=RESPONSES)
MOST_PICTURES = 1000
_PIECE = 1 << 20
_ZIP: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/zip": {}}, "description": "The pictures' files"}
}
_LEFT_OUT = "not in this file.txt"


class ZipBody(Strict):
    """The rows whose pictures are wanted."""

    ids: Annotated[list[Id], Field(min_length=1, max_length=MOST_PICTURES)]
    table: Name | None = None


@router.post("/pictures/zip", response_class=Response, responses=_ZIP)
async def zip_file(request: Request, body: ZipBody) -> Response:
    """Get the original files of several pictures as one zip file. A text file in it names the rows
    whose pictures are not local files in an allowed folder, and why they are left out."""
    service = service_of(request)
    rows = await service.items(body.table, list(dict.fromkeys(body.ids)))
    pictures: Pictures = request.app.state.pictures
    found, left_out = await asyncio.get_running_loop().run_in_executor(
        service.decoding, _find, pictures, body.ids, rows
    )
    if not found:
        raise MissingError("none of these rows has a picture in a folder that the service may send")
    return StreamingResponse(
        iterate_in_threadpool(_zipped(found, left_out)),
        media_type="application/zip",
        headers={
            "Content-Disposition": 'attachment; filename="cliphouse.zip"',
            "X-Cliphouse-Left-Out": str(len(left_out)),
        },
    )


def _find(
    pictures: Pictures, ids: Sequence[int], rows: Sequence[Mapping[str, Any]]
) -> tuple[dict[str, Path], list[str]]:
    """The files by their names in the archive, and a line for each row that has none."""
    found: dict[str, Path] = {}
    there = {row["id"] for row in rows}
    left_out = [f"row {id}: the table has no such row" for id in ids if id not in there]
    taken: set[str] = set()
    for row in rows:
        url = str(row.get("url", ""))
        try:
            path = pictures.file(url).path
        except MissingError as error:
            left_out.append(f"row {row['id']}, {url}: {error}")
            continue
        name = _free_name(path, taken)
        taken.add(name.lower())
        found[name] = path
    return found, left_out


def _free_name(path: Path, taken: Collection[str]) -> str:
    """A name in the archive for a file: its own, or if two folders have one of that name, with a
    number behind it."""
    stem, suffix = (part.encode("utf-8", "replace").decode() for part in (path.stem, path.suffix))
    names = (f"{stem} ({number}){suffix}" for number in count(2))
    return next(name for name in chain((stem + suffix,), names) if name.lower() not in taken)


def _zipped(found: Mapping[str, Path], left_out: Sequence[str]) -> Iterator[bytes]:
    """The archive in pieces. Pictures are compressed already, so they are stored as they are."""
    out = _Pieces()
    lines = list(left_out)
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name, path in found.items():
            try:
                stream = path.open("rb")
            except OSError as error:
                lines.append(f"{path}: {error.strerror}")
                continue
            about = zipfile.ZipInfo.from_file(path, name, strict_timestamps=False)
            with stream, archive.open(about, "w") as entry:
                while piece := stream.read(_PIECE):
                    entry.write(piece)
                    yield out.take()
        if lines:
            archive.writestr(_LEFT_OUT, "\n".join([*lines, ""]))
    yield out.take()


class _Pieces(io.RawIOBase):
    """A file that is written from its beginning to its end, and read in pieces meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._pieces.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        """What was written since the last call."""
        taken = b"".join(self._pieces)
        self._pieces.clear()
        return taken
