"""What a photograph knows about itself, from its EXIF, IPTC and XMP."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar, cast

from PIL import ExifTags, Image, ImageFile, IptcImagePlugin

from cliphouse.pictures.decode import decode

_Value = TypeVar("_Value")
_DC = "{http://purl.org/dc/elements/1.1/}"
_RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
_TITLE, _CAPTION, _KEYWORDS = (2, 5), (2, 120), (2, 25)  # of IPTC
_XP_TITLE, _XP_COMMENT, _XP_KEYWORDS = 0x9C9B, 0x9C9C, 0x9C9E  # as Windows writes them
_XMP_OF_TIFF = 700
# What cameras write as the description of each of their pictures.
_MEANINGLESS = re.compile(
    r"(OLYMPUS|MINOLTA|KONICA MINOLTA|KODAK|SONY|SAMSUNG|VIVITAR|ASUS|default|dav|DCIM|hdr|oznor|"
    r"rhdr|sdr|mde|cof|bokeh|btf|ptr|cap|Screenshot|\W|\d)*( DIGITAL CAMERA| DSC|\\\w+)*\s*",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Photograph:
    """What is known of a picture, each None if it is not known. ``taken`` is the local time of the
    camera, to the second. ``latitude`` and ``longitude`` are in degrees, north and east positive.
    ``orientation`` is EXIF's, 1 to 8. Texts are in NFC."""

    taken: datetime | None = None
    camera: str | None = None
    latitude: float | None = None
    longitude: float | None = None
    orientation: int | None = None
    title: str | None = None
    description: str | None = None
    keywords: tuple[str, ...] = ()

    @property
    def caption(self) -> str:
        """The words for the picture: its description, or its title."""
        return self.description or self.title or ""


@dataclass(frozen=True)
class Exposure:
    """How a picture was taken, each None if it is not known: the lens, the exposure time in
    seconds, the f-number, the ISO speed, and the focal length in millimetres."""

    lens: str | None = None
    seconds: float | None = None
    aperture: float | None = None
    iso: float | None = None
    focal_length: float | None = None


def read_exposure(image: Image.Image) -> Exposure:
    """How an opened picture was taken, by its EXIF. What is damaged counts as not known."""
    found = _or_none(lambda: image.getexif().get_ifd(ExifTags.IFD.Exif)) or {}
    lens = found.get(ExifTags.Base.LensModel)
    return Exposure(
        (_clean(lens) if isinstance(lens, str) else "") or None,
        _positive(found.get(ExifTags.Base.ExposureTime)),
        _positive(found.get(ExifTags.Base.FNumber)),
        _positive(found.get(ExifTags.Base.ISOSpeedRatings)),
        _positive(found.get(ExifTags.Base.FocalLength)),
    )


def _positive(value: Any) -> float | None:
    """A number, or the first of several; None if it is none, or not above zero."""
    first = value[0] if isinstance(value, tuple) and value else value
    number = _or_none(lambda: float(first))
    return number if number is not None and 0 < number < math.inf else None


def read_photograph(image: Image.Image) -> Photograph:
    """What an opened picture knows about itself. What is damaged counts as not known."""
    return _or_none(lambda: _read(image)) or Photograph()


def _read(image: Image.Image) -> Photograph:
    exif = _or_none(image.getexif) or Image.Exif()
    details = _or_none(lambda: exif.get_ifd(ExifTags.IFD.Exif)) or {}
    place = _or_none(lambda: exif.get_ifd(ExifTags.IFD.GPSInfo)) or {}
    iptc = _or_none(lambda: IptcImagePlugin.getiptcinfo(cast(ImageFile.ImageFile, image))) or {}
    xmp = _or_none(lambda: _xmp(image)) or {}
    orientation = exif.get(ExifTags.Base.Orientation)
    return Photograph(
        taken=_first(
            (
                _time(details.get(ExifTags.Base.DateTimeOriginal)),
                _time(details.get(ExifTags.Base.DateTimeDigitized)),
                _time(exif.get(ExifTags.Base.DateTime)),
            )
        ),
        camera=_or_none(
            lambda: _camera(exif.get(ExifTags.Base.Make), exif.get(ExifTags.Base.Model))
        ),
        latitude=_or_none(lambda: _degrees(place, 1, 2, 90)),
        longitude=_or_none(lambda: _degrees(place, 3, 4, 180)),
        orientation=orientation if orientation in range(1, 9) else None,
        title=_first((*xmp.get("title", ()), *_iptc(iptc, _TITLE), _windows(exif.get(_XP_TITLE)))),
        description=_first(
            (
                *xmp.get("description", ()),
                *_iptc(iptc, _CAPTION),
                _words(exif.get(ExifTags.Base.ImageDescription)),
                _windows(exif.get(_XP_COMMENT)),
            )
        ),
        keywords=_keywords(xmp, iptc, _windows(exif.get(_XP_KEYWORDS))),
    )


def _or_none(read: Callable[[], _Value]) -> _Value | None:
    """The value; None if it is damaged, for which libraries raise errors of many types."""
    try:
        return read()
    except Exception:  # noqa: BLE001
        return None


def _first(values: Iterable[_Value | None]) -> _Value | None:
    return next((value for value in values if value), None)


def _time(value: Any) -> datetime | None:
    try:
        made = datetime.strptime(str(value).strip("\0 ")[:19], "%Y:%m:%d %H:%M:%S")
    except ValueError:
        return None
    return made if made.year >= 1900 else None


def _camera(make: Any, model: Any) -> str | None:
    first, second = (_clean(str(value or "")) for value in (make, model))
    if not second or second.lower().startswith(first.lower()):
        return second or first or None
    return f"{first} {second}"


def _degrees(place: dict[int, Any], side: int, value: int, most: float) -> float | None:
    if value not in place:
        return None
    degrees, minutes, seconds = (float(part) for part in place[value])
    found = degrees + minutes / 60 + seconds / 3600
    found = -found if str(place.get(side, ""))[:1].upper() in ("S", "W") else found
    return found if math.isfinite(found) and abs(found) <= most else None


def _words(value: Any) -> str | None:
    """A text of EXIF, which Pillow reads as Latin-1 whatever it is."""
    if not isinstance(value, str):
        return None
    text = _clean(_or_none(lambda: decode(value.encode("latin-1"))) or value)
    return None if _MEANINGLESS.fullmatch(text) else text


def _windows(value: Any) -> str | None:
    data = bytes(value) if isinstance(value, (bytes, tuple)) else b""
    return _clean(data.decode("utf-16-le", "ignore")) or None


def _iptc(iptc: dict[Any, Any], key: tuple[int, int]) -> list[str]:
    values = iptc.get(key, [])
    listed = values if isinstance(values, list) else [values]
    return [_clean(text) for text in map(_text, listed) if text]


def _text(value: bytes) -> str:
    try:
        return decode(value)
    except UnicodeError:
        return ""


def _keywords(
    xmp: dict[str, list[str]], iptc: dict[Any, Any], windows: str | None
) -> tuple[str, ...]:
    listed = [*xmp.get("subject", ()), *_iptc(iptc, _KEYWORDS), *(windows or "").split(";")]
    return tuple(dict.fromkeys(word for word in map(_clean, listed) if word))


def _xmp(image: Image.Image) -> dict[str, list[str]]:
    """The texts of Dublin Core's title, description and subject."""
    data = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp")
    if not data and hasattr(image, "tag_v2"):
        data = image.tag_v2.get(_XMP_OF_TIFF)
    if not data:
        return {}
    from defusedxml.ElementTree import fromstring

    root = fromstring(data.strip(b"\0") if isinstance(data, bytes) else data)
    return {
        name: [
            _clean(item.text)
            for element in root.iter(f"{_DC}{name}")
            for item in element.iter(f"{_RDF}li")
            if item.text
        ]
        for name in ("title", "description", "subject")
    }


def _clean(text: str) -> str:
    return unicodedata.normalize("NFC", text.replace("\0", "")).strip()
