"""Frames of videos, by PyAV, which is an extra: ``pip install cliphouse[video]``.

A frame is named by its video's path and its time in seconds, as the W3C's media fragments have it:
``clip.mp4#t=12.5``.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from cliphouse.errors import PictureError
from cliphouse.pictures.files import LargePictureError
from cliphouse.pictures.formats import VIDEO_SUFFIXES
from cliphouse.pictures.photograph import Photograph

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.filter import Graph
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

EVERY_SECONDS = 10.0
SCENE_SCORE = 0.3  # of FFmpeg's filter `select`, whose documentation calls 0.3 to 0.5 sane
_SHORTEST_SCENE = 1.0  # seconds: flashes are no scenes
_MARK = "#t="
_SLACK = 1e-6  # seconds, by which times in a file and ours may differ


def is_video(path: str | Path) -> bool:
    """Whether ``path`` has the suffix of a video."""
    return Path(path).suffix.lower() in VIDEO_SUFFIXES


@functools.cache
def can_read_videos() -> bool:
    """Whether PyAV is installed."""
    return importlib.util.find_spec("av") is not None


def frame_name(video: str, seconds: float | None) -> str:
    """The name of a frame; that of the file itself without a time."""
    return video if seconds is None else f"{video}{_MARK}{seconds:.10g}"


def split_frame(name: str) -> tuple[str, float | None]:
    """The file and the time that a frame's name says; None for other files."""
    video, mark, seconds = name.rpartition(_MARK)
    if mark and is_video(video):
        with suppress(ValueError):
            return video, float(seconds)
    return name, None


def frame_times(length: float, every: float) -> list[float]:
    """The times of the frames of a video that are taken, one in ``every`` seconds."""
    count = max(1, int((length - _SLACK) // every) + 1)
    return [round(number * every, 6) for number in range(count)]


def read_scenes(path: Path) -> list[float]:
    """The times at which the scenes of a video begin, the first of which is 0.

    FFmpeg scores each frame by how much brighter or darker its pixels are than in the frame before,
    on average, less what was so one frame earlier: a cut is sudden, and a moving camera is not.
    What cannot be decoded in the middle is left out. Raises PictureError if it is no video.
    """
    import av.filter

    found = [0.0]
    with _opened(path) as (container, stream):
        stream.thread_type = "AUTO"
        graph = av.filter.Graph()
        source, sink = graph.add_buffer(template=stream), graph.add("buffersink")
        chosen = graph.add("select", f"gt(scene,{SCENE_SCORE})")
        graph.link_nodes(source, chosen, sink).configure()
        start = float((stream.start_time or 0) * (stream.time_base or 0))
        with suppress(av.FFmpegError):
            for frame in container.decode(stream):
                graph.push(frame)
                for first in _pulled(graph):
                    seconds = round((first.time or 0) - start, 6)
                    if seconds >= found[-1] + _SHORTEST_SCENE:
                        found.append(seconds)
    return found


def _pulled(graph: Graph) -> Iterator[VideoFrame]:
    """The frames that a graph of filters lets through now."""
    import av

    with suppress(av.BlockingIOError, av.EOFError):
        while True:
            yield graph.vpull()


def read_length(path: Path) -> float:
    """The seconds that a video takes; 0 if it does not say. Raises PictureError if it is none."""
    import av

    with _opened(path) as (container, stream):
        if stream.duration is not None and stream.time_base is not None:
            return float(stream.duration * stream.time_base)
        return (container.duration or 0) / av.time_base


def read_frame(path: Path, seconds: float, max_pixels: int) -> tuple[Image.Image, Photograph]:
    """The frame that a video shows at a time, upright in RGB, and when the video was taken.

    Raises PictureError if it cannot be read, or has more than ``max_pixels``.
    """
    with _opened(path) as (container, stream):
        if stream.width * stream.height > max_pixels:
            raise LargePictureError(
                f"{path}: {stream.width} x {stream.height} pixels, more than the limit of "
                f"{max_pixels:,}"
            )
        frame = _frame_at(container, stream, seconds)
        if frame is None:
            raise PictureError(f"{path}: cannot be read as a video: it has no frame")
        image = Image.fromarray(frame.to_ndarray(format="rgb24"))
        if frame.rotation:
            image = image.rotate(frame.rotation, expand=True)
        return image, Photograph(taken=_taken(container.metadata.get("creation_time", "")))


@contextmanager
def _opened(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    import av

    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise PictureError(f"{path}: cannot be read as a video: it has no pictures")
            yield container, container.streams.video[0]
    except (av.FFmpegError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise PictureError(f"{path}: cannot be read as a video: {reason}") from error


def _frame_at(container: InputContainer, stream: VideoStream, seconds: float) -> VideoFrame | None:
    """The last frame up to a time, or the first of all."""
    assert stream.time_base is not None
    start = (stream.start_time or 0) * stream.time_base
    if seconds:
        container.seek(int((seconds + float(start)) / stream.time_base), stream=stream)
    found = None
    for frame in container.decode(stream):
        is_later = frame.time is not None and frame.time - float(start) > seconds + _SLACK
        if is_later and found is not None:
            break
        found = frame
    return found


def _taken(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text[:19])
    except ValueError:
        return None
