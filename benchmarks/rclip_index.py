"""Runs rclip's own indexing of a folder, with the tiny model in the place of its network.

    python benchmarks/rclip_index.py FOLDER DATABASE

It runs in an environment of its own, which has rclip and psutil, with ``src`` on PYTHONPATH. What
is measured is rclip's way of pictures into its database: finding, reading, hashing, keeping.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rclip import db, main

from cliphouse.models import load_encoder

BATCH = 8  # rclip's own default


class TinyModel:
    """What rclip asks of a model when it indexes."""

    def __init__(self) -> None:
        self.encoder = load_encoder("tiny")

    def preprocess(self, image: Image.Image) -> Image.Image:
        return self.encoder.shrink(image.convert("RGB"))

    def compute_preprocessed_image_features(
        self, images: Sequence[Image.Image], **_: Any
    ) -> NDArray[np.float32]:
        return self.encoder.encode_image(images)


def index(folder: Path, database: Path) -> None:
    model = TinyModel()
    main.preprocess = model.preprocess
    kept = db.DB(database, allow_vector_cache_reset=True)
    program = main.RClip(model, kept, BATCH, None)
    try:
        program.ensure_index(str(folder))
    finally:
        program.close()
        kept.close()


if __name__ == "__main__":
    index(Path(sys.argv[1]), Path(sys.argv[2]))
