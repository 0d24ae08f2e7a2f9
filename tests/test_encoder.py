"""The encoder: ViT-B/32's files in their real layout (random weights), and what is said without.

The expectations are computed again with numpy and Pillow (tests/clip_files.py).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import cliphouse
from clip_files import ClipFiles, make_clip_files
from cliphouse.errors import ModelError
from cliphouse.models import load_encoder, model_name

TINY = Path(cliphouse.__file__).parent / "models" / "tiny"


@pytest.fixture(scope="module")
def clip_files(tmp_path_factory: pytest.TempPathFactory) -> ClipFiles:
    return make_clip_files(tmp_path_factory.mktemp("clip"))


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (8, 8, 3), np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def test_words_become_unit_vectors(clip_files: ClipFiles) -> None:
    encoder = load_encoder("ViT-B/32", str(clip_files.folder))
    texts = ["a dog and a cat", "", "Grüße 🐈", "tab\tnew\nline 'quoted' \\ \"", "long " * 500]
    vectors = encoder.encode_text(texts)
    assert (vectors.shape, vectors.dtype) == ((5, 512), np.float32)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    for text, vector in zip(texts, vectors, strict=True):
        assert np.allclose(vector, clip_files.expected_text(text), atol=1e-5), text


def test_words_are_encoded_as_fastembed_encodes_them(clip_files: ClipFiles) -> None:
    from fastembed import TextEmbedding

    strange = ["", "two BLUE circles\n", "é 漢字 🎈", "one " * 200, "x" * 400]
    words = [*strange, "a red heart", "a star"]
    for name, folder in (("ViT-B/32", clip_files.folder), ("tiny", TINY)):
        tower = str(folder / "text")
        theirs = TextEmbedding("Qdrant/clip-ViT-B-32-text", specific_model_path=tower)
        ours = load_encoder(name, str(folder)).encode_text(words)
        expected = np.array(list(theirs.embed(words, batch_size=32)))
        expected /= np.linalg.norm(expected, axis=1, keepdims=True)
        np.testing.assert_allclose(ours, expected, atol=1e-6)


def test_pictures_are_encoded_as_fastembed_encodes_them(clip_files: ClipFiles) -> None:
    from fastembed import ImageEmbedding

    images = [noise(*size) for size in [(224, 224), (640, 481), (301, 900), (50, 40), (64, 65)]]
    for name, folder in (("ViT-B/32", clip_files.folder), ("tiny", TINY)):
        tower = str(folder / "vision")
        theirs = ImageEmbedding("Qdrant/clip-ViT-B-32-vision", specific_model_path=tower)
        ours = load_encoder(name, str(folder)).encode_image(images)
        np.testing.assert_allclose(ours, np.array(list(theirs.embed(images))), atol=1e-6)


def test_a_folder_of_this_layout_is_a_model_by_its_own_name(clip_files: ClipFiles) -> None:
    encoder = load_encoder(str(clip_files.folder))
    assert (encoder.name, encoder.dim) == (clip_files.folder.name, 512)
    assert np.allclose(encoder.encode_text(["cat"])[0], clip_files.expected_text("cat"), atol=1e-5)
    image = noise(300, 224)
    vector = encoder.encode_image([image])[0]
    assert np.allclose(vector, clip_files.expected_image(image), atol=1e-4)


def test_a_text_does_not_depend_on_its_batch(clip_files: ClipFiles) -> None:
    encoder = load_encoder("ViT-B/32", str(clip_files.folder))
    alone = encoder.encode_text(["cat"])[0]
    among = encoder.encode_text(["a much longer text " * 3, "cat", *["x"] * 60])[1]
    assert np.allclose(alone, among, atol=1e-5)


@pytest.mark.parametrize("size", [(224, 224), (640, 480), (300, 900), (50, 40)])
def test_pictures_become_unit_vectors(clip_files: ClipFiles, size: tuple[int, int]) -> None:
    encoder = load_encoder("ViT-B/32", str(clip_files.folder))
    image = noise(*size)
    vector = encoder.encode_image([image])
    assert (vector.shape, vector.dtype) == ((1, 512), np.float32)
    assert np.allclose(vector[0], clip_files.expected_image(image), atol=1e-4)
    assert np.allclose(encoder.encode_image([encoder.shrink(image)]), vector, atol=1e-6)


def test_nothing_becomes_nothing(clip_files: ClipFiles) -> None:
    encoder = load_encoder("ViT-B/32", str(clip_files.folder))
    assert encoder.encode_text([]).shape == (0, 512)
    assert encoder.encode_image([]).shape == (0, 512)


def test_the_folder_may_come_from_the_environment_and_use_hub_names(
    clip_files: ClipFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "clip-ViT-B-32-text").symlink_to(clip_files.folder / "text")
    (tmp_path / "Qdrant").mkdir()
    (tmp_path / "Qdrant" / "clip-ViT-B-32-vision").symlink_to(clip_files.folder / "vision")
    monkeypatch.setenv("CLIPHOUSE_MODELS", str(tmp_path))
    encoder = load_encoder()
    assert np.allclose(encoder.encode_text(["cat"])[0], clip_files.expected_text("cat"), atol=1e-5)
    assert encoder.encode_image([noise(224, 224)]).shape == (1, 512)


def test_the_hub_s_cache_serves_offline(
    clip_files: ClipFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The layout that huggingface_hub leaves behind: refs/main names a snapshot folder."""
    for kind in ("text", "vision"):
        repository = tmp_path / f"models--Qdrant--clip-ViT-B-32-{kind}"
        (repository / "refs").mkdir(parents=True)
        (repository / "refs" / "main").write_text("0" * 40)
        (repository / "snapshots").mkdir()
        (repository / "snapshots" / ("0" * 40)).symlink_to(clip_files.folder / kind)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    vector = load_encoder().encode_text(["cat"])[0]
    assert np.allclose(vector, clip_files.expected_text("cat"), atol=1e-5)


def test_without_files_the_error_says_what_to_put_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError) as caught:
        load_encoder().encode_text(["cat"])
    message = str(caught.value)
    for needed in (
        "could not be fetched from huggingface.co/Qdrant/clip-ViT-B-32-text",
        "DIR/text (model.onnx, tokenizer.json, tokenizer_config.json)",
        "DIR/vision (model.onnx, preprocessor_config.json)",
        "--model-dir DIR or set CLIPHOUSE_MODELS=DIR",
        "--model tiny",
    ):
        assert needed in message
    assert "\n" not in message


def test_missing_files_are_named(clip_files: ClipFiles, tmp_path: Path) -> None:
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "model.onnx").symlink_to(clip_files.folder / "text" / "model.onnx")
    encoder = load_encoder("ViT-B/32", str(tmp_path))
    with pytest.raises(ModelError, match=r"text: tokenizer.json, tokenizer_config.json missing"):
        encoder.encode_text(["cat"])
    with pytest.raises(ModelError, match=r"vision: model.onnx, preprocessor_config.json missing"):
        encoder.encode_image([noise(224, 224)])


def test_a_damaged_model_is_named(clip_files: ClipFiles, tmp_path: Path) -> None:
    (tmp_path / "text").mkdir()
    for path in (clip_files.folder / "text").iterdir():
        (tmp_path / "text" / path.name).symlink_to(path)
    (tmp_path / "text" / "model.onnx").unlink()
    (tmp_path / "text" / "model.onnx").write_bytes(b"<html>404</html>")
    with pytest.raises(ModelError, match=r"text/model.onnx: the model cannot be loaded"):
        load_encoder("ViT-B/32", str(tmp_path)).encode_text(["cat"])


def test_model_names() -> None:
    for name in ("ViT-B/32", "vit-b/32", "ViT-B-32", "clip-ViT-B-32"):
        assert model_name(name) == "ViT-B/32"
    with pytest.raises(ModelError, match=r"model 'bert' is unknown; there are ViT-B/32, tiny"):
        load_encoder("bert")
