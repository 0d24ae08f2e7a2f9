"""The bundled `tiny` model, loaded by fastembed exactly as CLIP ViT-B/32 is."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import onnxruntime
import pytest
from fastembed import ImageEmbedding, TextEmbedding
from PIL import Image

from cliphouse.pictures.drawn import random_picture
from cliphouse.pictures.scenes import HELD_OUT, Query, Scene, Thing

ROOT = Path(__file__).parents[1]
MODEL = ROOT / "src" / "cliphouse" / "models" / "tiny"

TEXTS = [
    "a red circle",
    "three small blue stars",
    "two yellow hearts and a gray square at the bottom of the picture, more or less",
    "",
    "Ein grüner Würfel für Zoë",
    "赤い円 🔴🟥 — ½ ﬁ \u200d\u0000 \U0001f468\u200d\U0001f469\u200d\U0001f467",
    "مربع أحمر",
    "antidisestablishmentarianism " * 60,
]


@pytest.fixture(scope="module")
def text() -> TextEmbedding:
    return TextEmbedding("Qdrant/clip-ViT-B-32-text", specific_model_path=str(MODEL / "text"))


@pytest.fixture(scope="module")
def vision() -> ImageEmbedding:
    return ImageEmbedding("Qdrant/clip-ViT-B-32-vision", specific_model_path=str(MODEL / "vision"))


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("measure_tiny", ROOT / "tools/measure_tiny.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_finds_what_it_is_asked_for(tool: ModuleType) -> None:
    report = tool.measure(pictures=1600, seed=777)
    counts = {kind: sum(line.kind == kind for line in report.lines) for kind in report.kinds()}
    assert counts["seen pairs"] >= 40
    assert counts["held-out pairs"] == len(HELD_OUT)
    assert all(line.known >= tool.NEAREST / 2 for line in report.lines if line.kind in tool.TARGETS)
    assert report.average("seen pairs") >= 0.9
    assert report.average("held-out pairs") >= 0.7
    assert report.average("count, colour and shape") >= 0.6
    assert report.passed()


def test_report_fails_below_the_targets(tool: ModuleType) -> None:
    def report(seen: float, held_out: float) -> object:
        lines = (
            tool.Line("seen pairs", "a red circle", seen, 20),
            tool.Line("held-out pairs", "a brown circle", held_out, 20),
        )
        return tool.Report(lines, 10, 1.0, 1.0)

    assert report(0.9, 0.7).passed()  # type: ignore[attr-defined]
    assert not report(0.89, 0.9).passed()  # type: ignore[attr-defined]
    assert not report(1.0, 0.6).passed()  # type: ignore[attr-defined]


def test_precision_counts_only_hits(tool: ModuleType) -> None:
    circle = Scene((Thing(1, "small", "red", "circle", "left"),))
    square = Scene((Thing(1, "small", "red", "square", "left"),))
    scenes = [circle] * 20 + [square] * 20
    falling = np.linspace(1, 0, 40).astype(np.float32)
    query = Query("red", "square")
    assert tool.precision(falling, scenes, query).precision == 0
    assert tool.precision(-falling, scenes, query).precision == 1
    assert tool.precision(falling, scenes[15:], query).precision == 0.5


def test_unit_vectors_of_512(text: TextEmbedding, vision: ImageEmbedding) -> None:
    texts = np.array(list(text.embed(TEXTS)))
    images = np.array(list(vision.embed([random_picture(1, i).image for i in range(5)])))
    assert texts.shape == (len(TEXTS), 512) and images.shape == (5, 512)
    assert texts.dtype == images.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(texts, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(images, axis=1), 1, atol=1e-5)


def test_results_do_not_depend_on_the_batch(text: TextEmbedding, vision: ImageEmbedding) -> None:
    together = np.array(list(text.embed(TEXTS)))
    alone = np.array([next(iter(text.embed(one))) for one in TEXTS])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    pictures = [random_picture(2, i).image for i in range(6)]
    together = np.array(list(vision.embed(pictures)))
    alone = np.array([next(iter(vision.embed(one))) for one in pictures])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_case_and_spaces_do_not_matter(text: TextEmbedding) -> None:
    plain, other, red = text.embed(["a red circle", "  A RED\n\tCircle ", "a blue circle"])
    np.testing.assert_allclose(plain, other, atol=1e-6)
    assert float(plain @ red) < 0.9


def test_any_character_can_be_encoded(text: TextEmbedding) -> None:
    tokenizer = text.model.tokenizer  # type: ignore[attr-defined]
    end = tokenizer.token_to_id("<|endoftext|>")
    for code in [*range(1, 0x3000), *range(0x1F300, 0x1F700)]:
        if chr(code).isspace():
            continue
        # As CLIP's unknown token ends the text, a stray one would cut the sentence short.
        assert end not in tokenizer.encode(f"a{chr(code)} b").ids[1:-1], hex(code)
    assert len(tokenizer.encode("red " * 500).ids) == 77


def test_matching_captions_are_more_similar(text: TextEmbedding, vision: ImageEmbedding) -> None:
    pictures = [random_picture(3, i, "exclude") for i in range(200)]
    images = np.array(list(vision.embed([picture.image for picture in pictures])))
    things = [picture.scene.things[0] for picture in pictures]
    queries = [Query(thing.colour, thing.shape) for thing in things]
    texts = np.array(list(text.embed([query.sentence() for query in queries])))
    true = np.array([[p.scene.satisfies(query) for p in pictures] for query in queries])
    similarity = texts @ images.T
    assert similarity[true].mean() > similarity[~true].mean() + 0.15
    assert similarity[true].mean() > 0.15


def test_pictures_of_any_mode_and_shape(vision: ImageEmbedding) -> None:
    odd = [Image.new("L", (10, 300)), Image.new("RGBA", (300, 10)), Image.new("1", (64, 64), 1)]
    assert np.isfinite(np.array(list(vision.embed(odd)))).all()


def test_files_are_small_and_complete() -> None:
    names = {str(path.relative_to(MODEL)) for path in MODEL.rglob("*") if path.is_file()}
    assert names == {
        *("text/model.onnx", "text/config.json", "text/tokenizer.json"),
        *("text/tokenizer_config.json", "text/special_tokens_map.json"),
        *("vision/model.onnx", "vision/config.json", "vision/preprocessor_config.json"),
    }
    assert sum((MODEL / name).stat().st_size for name in names) <= 6_000_000


@pytest.mark.parametrize(
    ("tower", "inputs", "output"),
    [
        ("text", ["input_ids", "attention_mask"], "text_embeds"),
        ("vision", ["pixel_values"], "image_embeds"),
    ],
)
def test_onnx_names_are_those_of_clip(tower: str, inputs: list[str], output: str) -> None:
    session = onnxruntime.InferenceSession(str(MODEL / tower / "model.onnx"))
    assert [node.name for node in session.get_inputs()] == inputs
    assert session.get_outputs()[0].name == output
    assert session.get_outputs()[0].shape[1] == 512
