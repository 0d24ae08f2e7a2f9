"""The generator of benchmark data against what was measured on real CLIP ViT-B/32 vectors.

Every figure is computed here with plain numpy, over 8,192 rows. Real: some 4,700 image vectors of
several sets and 2,200 text vectors.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

ROWS = 8192
_PATH = Path(__file__).parents[1] / "benchmarks" / "clip_like.py"


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("clip_like", _PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["clip_like"] = module  # its dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


clip_like = _load()
Floats = NDArray[np.float32]


@pytest.fixture(scope="module")
def vectors() -> Any:
    return clip_like.ClipLike(seed=0).vectors(0, ROWS)


def effective_rank(rows: Floats) -> float:
    """Participation ratio of the covariance's eigenvalues."""
    centred = rows - rows.mean(axis=0)
    spread = np.linalg.eigvalsh(centred.T @ centred)
    return float(spread.sum() ** 2 / (spread**2).sum())


def cosines_between(rows: Floats) -> Floats:
    """The cosines of all pairs of different rows."""
    cosines: Floats = (rows @ rows.T)[np.triu_indices(len(rows), 1)]
    return cosines


def nearest(rows: Floats) -> float:
    """The median cosine of a row to its nearest other row."""
    cosines = rows @ rows.T
    np.fill_diagonal(cosines, -1)
    return float(np.median(cosines.max(axis=1)))


def test_vectors_have_length_one(vectors: Any) -> None:
    for rows in (vectors.image, vectors.text):
        assert rows.dtype == np.float32
        assert rows.shape == (ROWS, 512)
        assert np.abs(np.linalg.norm(rows, axis=1) - 1).max() < 1e-5
        stored = np.linalg.norm(rows.astype(np.float16).astype(np.float32), axis=1)
        assert np.abs(stored - 1).max() < 1e-3


def test_images_lie_in_a_cone_around_dimension_92(vectors: Any) -> None:
    mean = vectors.image.mean(axis=0)
    assert 0.72 <= np.linalg.norm(mean) <= 0.88
    assert np.abs(mean).argmax() == 92
    assert mean[92] == pytest.approx(-0.6, abs=0.05)


def test_texts_lie_in_a_cone_of_their_own(vectors: Any) -> None:
    mean = vectors.text.mean(axis=0)
    assert np.linalg.norm(mean) == pytest.approx(0.86, abs=0.02)
    assert set(np.abs(mean).argsort()[-2:]) == {133, 312}
    assert mean[[133, 312]] == pytest.approx(0.55, abs=0.02)


def test_images_are_as_alike_as_real_ones(vectors: Any) -> None:
    cosines = cosines_between(vectors.image[:2048])
    assert 0.52 <= cosines.mean() <= 0.77
    assert 0.06 <= cosines.std() <= 0.10
    assert 0.79 <= nearest(vectors.image[:4096]) <= 0.93


def test_images_spread_in_as_few_directions(vectors: Any) -> None:
    rank = effective_rank(vectors.image)
    assert 17 <= rank <= 48
    # Texts spread in more of them, which is half of why they are hard to search with.
    assert effective_rank(vectors.text) > 2 * rank


def test_a_text_is_far_from_every_image_and_little_nearer_to_its_own(vectors: Any) -> None:
    cosines = vectors.image[:2048] @ vectors.text[:2048].T
    own = np.diagonal(cosines)
    others = cosines[~np.eye(len(cosines), dtype=bool)]
    assert others.mean() == pytest.approx(0.19, abs=0.01)
    assert 0.02 <= others.std() <= 0.05
    assert own.mean() == pytest.approx(0.31, abs=0.03)
    # The best image for a text is far beyond any text-image pair of random directions, and still
    # far below what two unrelated images have.
    assert 0.27 <= np.median(cosines.max(axis=0)) <= 0.45


def test_a_text_finds_its_image_sometimes(vectors: Any) -> None:
    """Captions of the web name their own picture among thousands, but not always."""
    ranks = (vectors.image @ vectors.text[:500].T).T
    own = ranks[np.arange(500), np.arange(500)]
    found = np.mean((ranks > own[:, None]).sum(axis=1) < 10)
    assert 0.3 <= found <= 0.95


@pytest.mark.parametrize(("start", "stop"), [(0, 1), (4000, 4200), (4095, ROWS), (ROWS, ROWS)])
def test_rows_are_the_same_however_they_are_cut(vectors: Any, start: int, stop: int) -> None:
    part = clip_like.ClipLike(seed=0).vectors(start, stop)
    assert np.array_equal(part.image, vectors.image[start:stop])
    assert np.array_equal(part.text, vectors.text[start:stop])


def test_metadata_is_the_same_however_it_is_cut() -> None:
    generator = clip_like.ClipLike(seed=3)
    whole = list(generator.batches(0, 4200))
    parts = list(generator.batches(4000, 4200))
    assert [batch.start for batch in parts] == [4000, 4096]
    listed = [row for batch in whole for row in batch.metadata.to_pylist()]
    assert [row for batch in parts for row in batch.metadata.to_pylist()] == listed[4000:]


def test_another_seed_is_another_set() -> None:
    one, other = clip_like.ClipLike(0).vectors(0, 10), clip_like.ClipLike(1).vectors(0, 10)
    assert not np.isclose(one.image, other.image).all()
    # The largest entries of the mean are CLIP's own, whatever the seed.
    assert other.image[:, 92].mean() == pytest.approx(-0.6, abs=0.1)


def test_metadata_has_the_lengths_and_oddities_of_the_web() -> None:
    [batch] = clip_like.ClipLike(seed=0).batches(0, 4096)
    captions = batch.metadata.column("caption").to_pylist()
    urls = batch.metadata.column("url").to_pylist()
    assert np.mean([len(url.encode()) for url in urls]) == pytest.approx(90, abs=10)
    assert np.mean([len(caption.encode()) for caption in captions]) == pytest.approx(60, abs=10)
    assert len(set(urls)) == len(urls)
    for mark in ('"', "'", ","):
        assert 0.005 < np.mean([mark in caption for caption in captions]) < 0.2
    assert any(not caption.isascii() for caption in captions)
    similarity = batch.metadata.column("similarity").to_numpy()
    assert similarity == pytest.approx((batch.image * batch.text).sum(axis=1), abs=1e-5)
    assert set(batch.metadata.column("NSFW").to_pylist()) == {"UNLIKELY", "UNSURE", "NSFW"}


def test_a_shard_holds_its_own_rows(tmp_path: Path) -> None:
    clip_like.write_shard(tmp_path, 2, 50, seed=5)
    image = np.load(tmp_path / "img_emb" / "img_emb_2.npy")
    text = np.load(tmp_path / "text_emb" / "text_emb_2.npy")
    expected = clip_like.ClipLike(seed=5).vectors(100, 150)
    assert image.dtype == np.float16
    assert np.array_equal(image, expected.image.astype(np.float16))
    assert np.array_equal(text, expected.text.astype(np.float16))
    metadata = pq.read_table(tmp_path / "metadata" / "metadata_2.parquet")
    assert metadata.num_rows == 50
    assert {"url", "caption", "NSFW", "similarity", "LICENSE", "width", "height"} == set(
        metadata.column_names
    )
