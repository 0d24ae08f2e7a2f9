"""The settings that the transformers library writes, which several layouts have."""

from __future__ import annotations

from pathlib import Path

from cliphouse.models.facts import Resize, VisionFacts
from cliphouse.models.json_file import JsonFile

_MOST_TOKENS = 100_000  # transformers writes 10^30 if it does not know
_RESAMPLINGS = range(6)  # Pillow's numbers


def read_context(settings: JsonFile) -> int | None:
    """The most tokens of a text by tokenizer_config.json; None if it does not say."""
    said = [settings.values.get(key) for key in ("model_max_length", "max_length")]
    counts = [n for n in said if isinstance(n, int) and 0 < n <= _MOST_TOKENS]
    return min(counts, default=None)


def read_vision(path: Path, network: Path) -> VisionFacts:
    """The facts of an image tower by its preprocessor_config.json."""
    said = JsonFile.read(path)
    for key in ("do_resize", "do_rescale"):
        if not said.flag(key, True):
            raise said.wrong(key, "must be true")
    edge, resize = _edge(said)
    resampling = said.values.get("resample")
    if not isinstance(resampling, int) or resampling not in _RESAMPLINGS:
        raise said.wrong("resample", "is not one of Pillow's numbers 0 to 5")
    mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    if said.flag("do_normalize", True):
        mean, std = said.three("image_mean"), said.three("image_std")
    scale = said.values.get("rescale_factor", 1 / 255)
    if not isinstance(scale, float):
        raise said.wrong("rescale_factor", "is not a number")
    size = _crop(said, edge, resize)
    return VisionFacts(network, size, edge, resize, resampling, mean, std, scale)


def _edge(said: JsonFile) -> tuple[int, Resize]:
    """The pixels that an edge is scaled to, and whether it is the shorter one or both."""
    if isinstance(said.values.get("size"), int):
        return said.count("size"), "crop"
    size = said.part("size")
    if size.has("shortest_edge"):
        return size.count("shortest_edge"), "crop"
    if size.count("height") != size.count("width"):
        raise said.wrong("size", "is not a square")
    return size.count("height"), "squash"


def _crop(said: JsonFile, edge: int, resize: Resize) -> int:
    """The edge of the square that is taken from the middle, in pixels."""
    if not said.flag("do_center_crop", None if resize == "crop" else False):
        if resize == "crop":
            raise said.wrong("do_center_crop", "must be true if size is that of the shorter edge")
        return edge
    if isinstance(said.values.get("crop_size"), int):
        crop = said.count("crop_size")
    else:
        size = said.part("crop_size")
        crop = size.count("height")
        if size.count("width") != crop:
            raise said.wrong("crop_size", "is not a square")
    if crop > edge or (resize == "squash" and crop != edge):
        raise said.wrong("crop_size", f"does not fit size {edge}")
    return crop
