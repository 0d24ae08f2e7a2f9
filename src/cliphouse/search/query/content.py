"""What operands hold, read from where it is: files of this machine and addresses on the web."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cliphouse.errors import PictureError, QueryError
from cliphouse.search.query.operand import Operand

if TYPE_CHECKING:
    from PIL import Image


def read_image(operand: Operand) -> Image.Image:
    """The picture of an operand as RGB. Raises PictureError if it cannot be fetched or read."""
    from PIL import Image

    from cliphouse.pictures.fetch import fetch_picture
    from cliphouse.pictures.files import read_picture
    from cliphouse.pictures.open_any import open_any

    if operand.picture_url is not None:
        return fetch_picture(operand.picture_url)
    picture = operand.picture
    if isinstance(picture, Image.Image):
        return picture.convert("RGB")
    if isinstance(picture, bytes):
        return read_picture(io.BytesIO(picture), "the picture")
    return open_any(str(picture))


def read_file(operand: Operand) -> bytes:
    """The picture of an operand as the bytes of a file. Raises PictureError if it cannot be
    read."""
    from PIL import Image

    picture = operand.picture
    if isinstance(picture, bytes):
        return picture
    if isinstance(picture, Image.Image):
        buffer = io.BytesIO()
        picture.convert("RGB").save(buffer, "png")
        return buffer.getvalue()
    try:
        return Path(str(picture)).read_bytes()
    except OSError as error:
        raise PictureError(f"{picture}: cannot be read: {error.strerror}") from error


def read_vector(operand: Operand) -> NDArray[Any]:
    """The vector of an operand as an array of any shape. Raises QueryError if it is none."""
    vector = operand.vector
    if isinstance(vector, str | Path):
        return load_npy(Path(vector))
    try:
        return np.asarray(vector)
    except ValueError:
        raise QueryError("the query: its rows differ in length; a query is one vector") from None


def load_npy(path: Path) -> NDArray[Any]:
    """The array of a .npy file, of any shape. Raises QueryError, naming the file, if it is none."""
    try:
        loaded = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise QueryError(f"{path}: no such file") from None
    except (OSError, ValueError, EOFError) as error:
        raise QueryError(f"{path}: not a readable .npy file: {error}") from error
    if not isinstance(loaded, np.ndarray):
        loaded.close()
        raise QueryError(f"{path}: an archive of arrays; save the vector alone with numpy.save")
    return loaded
