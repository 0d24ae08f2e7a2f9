"""What `embed` spends its time on: reading pictures, preprocessing them, and the networks.

    python benchmarks/embed.py [--pictures N] [--repeat N] [--dir DIR] [--no-report]

JPEG pictures of three sizes are embedded with ViT-B/32 of its true size and layout and random
weights. Each part runs alone and is measured in seconds of processor time for a picture, over all
threads, in turns; then the command's own function runs over the folder. A full run writes
docs/benchmarks/embed.md and embed.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
from PIL import Image

from cliphouse.models import load_encoder
from cliphouse.models.layouts import layout_of
from cliphouse.models.network import Network
from cliphouse.models.text_tower import TextTower
from cliphouse.models.vision_tower import pixels, shrink
from cliphouse.pictures.embed import embed_folder
from cliphouse.pictures.files import read_with, upright_size
from cliphouse.pictures.formats import MAX_PIXELS
from vit_files import write_vit

REPORT = Path(__file__).resolve().parents[1] / "docs" / "benchmarks" / "embed.md"
GOAL = 0.85  # of the processor time that the networks take
SIZES = {"as img2dataset writes them": (512, 384), "2 megapixels": (1600, 1200)}
SIZES["a camera's 12 megapixels"] = (4000, 3000)
PARTS = ("reading", "preprocessing", "image network", "text network")


@dataclass(frozen=True)
class Measured:
    """Processor seconds of each part for one picture, and the pictures a second of `embed`."""

    size: str
    width: int
    height: int
    bytes: int
    parts: dict[str, float]
    rate: float

    @property
    def share(self) -> float:
        """The networks' part of the processor time."""
        networks = self.parts["image network"] + self.parts["text network"]
        return networks / sum(self.parts.values())


def write_photos(folder: Path, size: tuple[int, int], count: int) -> None:
    """JPEG files with the detail and the bytes of photographs: noise of all scales."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(size[0])
    for number in range(count):
        values = np.zeros((size[1], size[0], 3), np.float32)
        for scale in (2, 4, 8, 16, 32, 64, 128, 256):
            shape = (max(1, size[1] // scale), max(1, size[0] // scale), 3)
            grain = Image.fromarray(rng.integers(0, 256, shape, np.uint8))
            grain = grain.resize(size, Image.Resampling.BICUBIC)
            values += (np.asarray(grain, np.float32) - 128) * np.float32(scale**0.75 / 40)
        image = Image.fromarray(np.clip(values + 128, 0, 255).astype(np.uint8))
        image.save(folder / f"photo {number}.jpg", quality=88)


def measure(model: Path, name: str, size: tuple[int, int], work: Path, count: int) -> Measured:
    """All figures of one size of pictures."""
    folder = work / f"{size[0]}x{size[1]}"
    if not folder.exists():
        write_photos(folder, size, count)
    paths = sorted(folder.glob("*.jpg"))
    layout = layout_of(model)
    vision, text = layout.vision(model), layout.text(model)
    edge = load_encoder(str(model)).decoding_edge
    network = Network(vision.network, threads=1)  # threads that wait would be counted
    words = TextTower(text, Network(text.network, threads=1))

    def read(path: Path) -> Image.Image:
        """As `embed` reads a picture: a large one no larger than it needs to be."""
        with path.open("rb") as stream:
            return read_with(stream, path.name, MAX_PIXELS, upright_size, lambda: edge)[0]

    opened = [read(path) for path in paths[:4]]
    shrunk = [shrink(image, vision) for image in opened]
    batch = pixels([shrunk[n % len(shrunk)] for n in range(32)], vision)
    captions = [f"photo {number}" for number in range(32)]
    (given,) = network.inputs
    runs: dict[str, tuple[Callable[[], object], int]] = {
        "reading": (lambda: [read(path) for path in paths[:4]], 4),
        "preprocessing": (lambda: pixels([shrink(i, vision) for i in opened], vision), 4),
        "image network": (lambda: network.run({given: batch}), 32),
        "text network": (lambda: list(words.embed(captions, 32)), 32),
    }
    found: dict[str, list[float]] = {part: [] for part in PARTS}
    for _ in range(5):
        for part, (run, pictures) in runs.items():
            started = time.process_time()
            run()
            found[part].append((time.process_time() - started) / pictures)
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as shards:
        report = embed_folder(folder, Path(shards), load_encoder(str(model)))
    rate = report.new / (time.monotonic() - started)
    parts = {part: statistics.median(seconds) for part, seconds in found.items()}
    return Measured(name, *size, paths[0].stat().st_size, parts, rate)


def markdown(figures: list[Measured], machine: str) -> str:
    """The report."""
    lines = [
        "# Embedding pictures",
        "",
        "Generated by `make bench-embed`; changes made by hand are lost.",
        "",
        "ViT-B/32 of its true size and random weights, JPEG files with the detail of photographs. "
        "The parts are milliseconds of processor time for a picture and its caption, over all "
        "threads, each measured alone; the share is the networks' of their sum. The rate is that "
        "of `embed` over a folder, by the clock.",
        "",
        f"Machine: {machine}.",
        "",
        "| pictures | kB | " + ", ms | ".join(PARTS) + ", ms | networks' share | pictures/s |",
        "|---|---:|" + "---:|" * (len(PARTS) + 2),
    ]
    for one in figures:
        times = " | ".join(f"{one.parts[part] * 1000:,.1f}" for part in PARTS)
        lines.append(
            f"| {one.size}, {one.width} x {one.height} | {one.bytes / 1000:,.0f} | {times} | "
            f"{one.share:.0%} | {one.rate:.1f} |"
        )
    met = all(one.share >= GOAL for one in figures)
    lines += ["", f"Goal: at least {GOAL:.0%} of the time: {'reached' if met else 'missed'}."]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pictures", type=int, default=64, help="of each size")
    parser.add_argument("--dir", type=Path, help="where models and pictures are kept")
    parser.add_argument("--no-report", action="store_true", help="print only")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        work = given.dir or Path(name)
        model = work / "ViT-B-32"
        if not model.exists():
            write_vit(model)
        figures = [
            measure(model, label, size, work, given.pictures) for label, size in SIZES.items()
        ]
    versions = ", ".join(f"{n} {version(n)}" for n in ("onnxruntime", "pillow", "numpy"))
    machine = (
        f"{os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}, "
        f"{versions}"
    )
    page = markdown(figures, machine)
    print(page)
    if not given.no_report:
        REPORT.write_text(page)
        values = {"machine": machine, "figures": [asdict(one) for one in figures]}
        REPORT.with_suffix(".json").write_text(json.dumps(values, indent=1) + "\n")


if __name__ == "__main__":
    main()
