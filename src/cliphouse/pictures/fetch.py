"""Fetching a picture from the web for a query on the user's own machine, within limits."""

from __future__ import annotations

import io
import time

import httpx
from PIL import Image

from cliphouse.errors import PictureError
from cliphouse.pictures.files import read_picture

MAX_BYTES = 50_000_000
_SECONDS = 30.0


def fetch_picture(url: str) -> Image.Image:
    """Fetch the picture at ``url`` as RGB (see cliphouse.pictures.files.open_picture).

    Raises PictureError if it cannot be fetched in 30 seconds, is larger than 50 MB, or is not a
    picture.
    """
    data = io.BytesIO()
    deadline = time.monotonic() + _SECONDS
    try:
        with httpx.stream("GET", url, follow_redirects=True, timeout=_SECONDS) as response:
            response.raise_for_status()
            for piece in response.iter_bytes():
                data.write(piece)
                if data.tell() > MAX_BYTES:
                    raise PictureError(f"{url}: larger than {MAX_BYTES // 10**6} MB")
                if time.monotonic() > deadline:
                    raise PictureError(f"{url}: not fetched within {_SECONDS:.0f} s")
    except httpx.HTTPStatusError as error:
        code = error.response.status_code
        raise PictureError(
            f"{url}: the server answers {code} {error.response.reason_phrase}"
        ) from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise PictureError(f"{url}: cannot be fetched: {error or type(error).__name__}") from error
    data.seek(0)
    return read_picture(data, url)
