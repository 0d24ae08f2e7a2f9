"""The route /api/image: sends local pictures, only from the allowed folders."""

from __future__ import annotations

import asyncio
import hashlib
import io
import mimetypes
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated
from urllib.parse import unquote, urlsplit

from fastapi import APIRouter, Query, Request
from PIL import Image, UnidentifiedImageError
from pydantic import BaseModel
from starlette.responses import FileResponse, Response

from cliphouse.errors import MissingError, PictureError
from cliphouse.pictures.files import identify
from cliphouse.pictures.open_any import is_made, open_any
from cliphouse.pictures.photograph import Exposure, read_exposure
from cliphouse.pictures.video import frame_name, split_frame
from cliphouse.server.api import TableName, service_of
from cliphouse.server.failures import RESPONSES
from cliphouse.server.schema import Id
from cliphouse.server.settings import Limits

router = APIRouter(prefix="/api", responses=RESPONSES)
MAX_SIZE = 1024
_KEPT_BYTES = 64_000_000
_QUALITY = 85
_SMALL_BYTES = 65_536  # of a JPEG that is sent as it is, in place of a thumbnail
_WHOLE = 4096  # pixels of the longer side of a picture that is made of another file
# A browser must not run anything in these files, whatever their bytes are.
_HEADERS = {"Content-Security-Policy": "default-src 'none'; sandbox"}
# Those that browsers play and Python may not know.
_VIDEO_TYPES = {".m4v": "video/mp4", ".mkv": "video/x-matroska", ".ogv": "video/ogg"}
_UNREADABLE = (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError)
_PICTURE = {"content": {"image/*": {}}, "description": "The picture's bytes"}


@dataclass(frozen=True)
class EncodedPicture:
    """The bytes of a picture file and their content type."""

    data: bytes
    media_type: str

    @property
    def etag(self) -> str:
        return f'"{hashlib.sha256(self.data).hexdigest()[:32]}"'


@dataclass(frozen=True)
class PictureFile:
    """A picture's file and its content type."""

    path: Path
    media_type: str


class ExposureAnswer(BaseModel):
    """The lens, the exposure time in seconds, the f-number, the ISO speed, and the focal length in
    millimetres, each null if it is not known."""

    lens: str | None
    seconds: float | None
    aperture: float | None
    iso: float | None
    focal_length: float | None


class Pictures:
    """Reads the pictures below ``folders`` and keeps up to 64 MB of thumbnails.

    Several threads may call its methods.
    """

    def __init__(self, folders: Sequence[Path], limits: Limits) -> None:
        self._folders = [folder.resolve() for folder in folders]
        self._limits = limits
        self._kept: OrderedDict[tuple[str, int, int], EncodedPicture] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def show(self, url: str, size: int | None) -> EncodedPicture:
        """The picture at a row's ``url``, or its thumbnail of at most ``size`` pixels a side. RAW
        photographs and frames of videos, which no browser shows, become JPEG.

        Raises MissingError if it is not a file below the folders or not a picture, PictureError if
        it is too large or cannot be decoded.
        """
        path = self._find(url)
        name = frame_name(str(path), split_frame(url)[1])
        if size is None and not is_made(name):
            return self._whole(path)
        size = _WHOLE if size is None else size
        key = (name, path.stat().st_mtime_ns, size)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        made = self._thumbnail(name, size)
        with self._lock:
            if key not in self._kept:
                self._kept[key] = made
                self._bytes += len(made.data)
            while self._bytes > _KEPT_BYTES:
                self._bytes -= len(self._kept.popitem(last=False)[1].data)
        return made

    def file(self, url: str) -> PictureFile:
        """The file at a row's ``url``, however large; of a frame, its video. Raises MissingError if
        it is not below the folders or not a picture."""
        path = self._find(url)
        is_frame = split_frame(url)[1] is not None
        return PictureFile(path, _video_type(path) if is_frame else _media_type(path))

    def exposure(self, url: str) -> Exposure:
        """How the picture at a row's ``url`` was taken, as far as its file says.

        Raises MissingError as ``file`` does.
        """
        path = self._find(url)
        try:
            with identify(path) as image:
                return read_exposure(image)
        except _UNREADABLE:  # as a video, or a RAW photograph, whose columns say what is known
            return Exposure()

    def _find(self, url: str) -> Path:
        """The real path of a picture. Follows links before it checks the folder."""
        path = _local_path(split_frame(url)[0])
        if path is None:
            raise MissingError("this row's picture is not a local file; see its url")
        try:
            real = path.resolve(strict=True)
        except (OSError, ValueError, RuntimeError):
            raise MissingError("the file of this row's picture does not exist") from None
        if not real.is_file() or not any(real.is_relative_to(folder) for folder in self._folders):
            raise MissingError("this row's picture is not in a folder that the service may send")
        return real

    def _whole(self, path: Path) -> EncodedPicture:
        if path.stat().st_size > self._limits.picture_bytes:
            raise PictureError(
                "this row's picture is too large to send; request a thumbnail with ?size="
            )
        data = path.read_bytes()
        return EncodedPicture(data, _media_type(io.BytesIO(data)))

    def _thumbnail(self, name: str, size: int) -> EncodedPicture:
        if not is_made(name) and (small := _small_jpeg(Path(name), size)):
            return small
        try:
            image = open_any(name, self._limits.picture_pixels, size)
        except PictureError as error:
            said = str(error).replace(split_frame(name)[0], "this row's picture")
            raise type(error)(said) from error
        image.thumbnail((size, size), Image.Resampling.LANCZOS)
        made = io.BytesIO()
        image.save(made, "JPEG", quality=_QUALITY)
        return EncodedPicture(made.getvalue(), "image/jpeg")


@router.get("/image/{id}", response_class=Response, responses={200: _PICTURE})
async def image(
    request: Request,
    id: Id,
    table: TableName = None,
    size: Annotated[
        int | None, Query(ge=16, le=MAX_SIZE, description="Longest side of a thumbnail")
    ] = None,
) -> Response:
    """Get a row's picture, if it is a local file in an allowed folder."""
    service = service_of(request)
    url = await service.url(table, id)
    pictures: Pictures = request.app.state.pictures
    shown = await asyncio.get_running_loop().run_in_executor(
        service.decoding, pictures.show, url, size
    )
    headers = _HEADERS | {"ETag": shown.etag, "Cache-Control": "private, max-age=3600"}
    if request.headers.get("if-none-match") == shown.etag:
        return Response(status_code=304, headers=headers)
    return Response(shown.data, headers=headers, media_type=shown.media_type)


@router.get("/image/{id}/file", response_class=Response, responses={200: _PICTURE})
async def image_file(request: Request, id: Id, table: TableName = None) -> Response:
    """Download the file of a row's picture, however large, if it is in an allowed folder."""
    service = service_of(request)
    url = await service.url(table, id)
    pictures: Pictures = request.app.state.pictures
    found = await asyncio.get_running_loop().run_in_executor(service.decoding, pictures.file, url)
    return FileResponse(
        found.path, headers=_HEADERS, media_type=found.media_type, filename=found.path.name
    )


@router.get("/image/{id}/exposure")
async def exposure(request: Request, id: Id, table: TableName = None) -> ExposureAnswer:
    """Get how a row's picture was taken, from its EXIF, if its file is in an allowed folder."""
    service = service_of(request)
    url = await service.url(table, id)
    pictures: Pictures = request.app.state.pictures
    loop = asyncio.get_running_loop()
    return ExposureAnswer(
        **asdict(await loop.run_in_executor(service.decoding, pictures.exposure, url))
    )


def _small_jpeg(path: Path, size: int) -> EncodedPicture | None:
    """The file as it is, if it is a whole JPEG that needs no thumbnail of ``size`` pixels."""
    if path.stat().st_size > _SMALL_BYTES:
        return None
    data = path.read_bytes()
    if not data.startswith(b"\xff\xd8") or not data.endswith(b"\xff\xd9"):
        return None
    try:
        with identify(io.BytesIO(data)) as image:
            is_small = image.format == "JPEG" and image.mode in ("RGB", "L")
            is_small = is_small and max(image.size) <= size
    except _UNREADABLE:
        return None
    return EncodedPicture(data, "image/jpeg") if is_small else None


def _video_type(path: Path) -> str:
    """The content type of a video, by its suffix."""
    own = _VIDEO_TYPES.get(path.suffix.lower())
    guessed = own or mimetypes.guess_type(path.name)[0] or ""
    return guessed if guessed.startswith("video/") else "application/octet-stream"


def _media_type(file: Path | io.BytesIO) -> str:
    """The content type of a picture. Raises MissingError if it is none."""
    try:
        with identify(file) as image:
            media_type = Image.MIME.get(image.format or "")
    except _UNREADABLE:
        media_type = None
    if media_type is None or not media_type.startswith("image/"):
        raise MissingError("this row's file is not a picture")
    return media_type


def _local_path(url: str) -> Path | None:
    """The path in a row's url, or None if the url is a web address."""
    if url.startswith("file://"):
        parts = urlsplit(url)
        return Path(unquote(parts.path)) if parts.netloc in ("", "localhost") else None
    return Path(url) if url.startswith("/") and "\0" not in url else None
