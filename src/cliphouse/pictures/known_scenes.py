"""Where the scenes of videos begin, as earlier runs have found it: finding it decodes the whole
video."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from cliphouse.pictures.find import Picture
from cliphouse.pictures.video import SCENE_SCORE, read_scenes
from cliphouse.shards.disk import write_whole

_NAME = "scenes.json"


class KnownScenes:
    """What ``scenes.json`` in a folder of shards says: the times by the size and time of a video's
    file, so that one that was renamed or moved is known."""

    def __init__(
        self, shards: Path, may_write: bool = True, tell: Callable[[Path], None] | None = None
    ) -> None:
        """``tell`` is told of each video that is to be decoded."""
        self._tell = tell
        self._path = shards / _NAME
        self._may_write = may_write
        self._times: dict[str, list[float]] = {}
        try:
            content = json.loads(self._path.read_text("utf-8"))
            if content["score"] == SCENE_SCORE:
                self._times = {key: [float(t) for t in v] for key, v in content["times"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            pass  # they are found again

    def times(self, picture: Picture) -> list[float]:
        """When the scenes of the video of ``picture`` begin. Raises PictureError if it is none."""
        key = f"{picture.bytes} {picture.mtime_ns}"
        if key not in self._times:
            if self._tell is not None:
                self._tell(picture.path)
            self._times[key] = read_scenes(picture.path)
            self._write()
        return self._times[key]

    def _write(self) -> None:
        if self._may_write and self._path.parent.is_dir():
            content = {"score": SCENE_SCORE, "times": self._times}
            write_whole(self._path, json.dumps(content))
