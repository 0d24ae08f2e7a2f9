"""Words that are searched for again are not encoded again; what is kept for them is bounded."""

from __future__ import annotations

import asyncio
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

import cliphouse
from clip_files import make_clip_files
from cliphouse import Operand, Request
from cliphouse.models import load_encoder
from cliphouse.server.metrics import Metrics
from cliphouse.server.service import Service
from cliphouse.server.settings import ServeSettings
from cliphouse.server.word_vectors import WordVectors
from shard_files import make_shard


def vector(number: int) -> np.ndarray:
    return np.full(512, number, np.float32)


def counted(metrics: Metrics) -> tuple[int, int]:
    """The words that were found, and those that were not."""
    values = [
        metrics.registry.get_sample_value(f"cliphouse_word_cache_{kind}_total")
        for kind in ("hits", "misses")
    ]
    return int(values[0] or 0), int(values[1] or 0)


def test_the_words_used_longest_ago_make_room() -> None:
    metrics = Metrics()
    kept = WordVectors(metrics, most_bytes=12_000)  # room for four
    for number in range(4):
        kept.keep("tiny", f"word {number}", vector(number))
    assert kept.get("tiny", "word 0") is not None
    kept.keep("tiny", "word 4", vector(4))
    held = {n: kept.get("tiny", f"word {n}") for n in range(5)}
    assert [n for n, value in held.items() if value is None] == [1]
    for number, value in held.items():
        assert value is None or value.tolist() == vector(number).tolist()
    assert counted(metrics) == (5, 1)
    assert kept.bytes <= 12_000


def test_models_share_no_vectors() -> None:
    kept = WordVectors(Metrics())
    kept.keep("tiny", "a star", vector(1))
    assert kept.get("ViT-B/32", "a star") is None
    kept.keep("ViT-B/32", "a star", vector(2))
    assert [kept.get(model, "a star")[0] for model in ("tiny", "ViT-B/32")] == [1, 2]  # type: ignore[index]


def test_a_kept_vector_is_a_copy_that_nobody_changes() -> None:
    kept, batch = WordVectors(Metrics()), np.ones((32, 512), np.float32)
    kept.keep("tiny", "a star", batch[3])
    batch[3] = 7
    found = kept.get("tiny", "a star")
    assert found is not None
    assert found.tolist() == vector(1).tolist()
    with pytest.raises(ValueError, match="read-only"):
        found[0] = 2


@pytest.mark.parametrize("length", [5, 4000])
def test_the_bound_holds_for_the_memory_that_is_taken(length: int) -> None:
    kept = WordVectors(Metrics(), most_bytes=1_000_000)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(2000):
            kept.keep("tiny", f"{number:>{length}}", vector(number))
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert 900_000 < kept.bytes <= 1_000_000
    assert taken < 1_100_000


def test_words_larger_than_the_bound_are_not_kept() -> None:
    kept = WordVectors(Metrics(), most_bytes=3000)
    kept.keep("tiny", "a star", vector(1))
    kept.keep("tiny", "x" * 3000, vector(2))
    assert kept.get("tiny", "x" * 3000) is None
    assert kept.get("tiny", "a star") is not None


def test_a_service_encodes_the_same_words_once_for_each_model(tmp_path: Path) -> None:
    files = make_clip_files(tmp_path / "models")
    make_shard(tmp_path / "s", rows=50, dim=512)
    models = {"small": "tiny", "again": "tiny", "large": "ViT-B/32"}
    for name, model in models.items():
        with cliphouse.open(tmp_path / "db", table=name, model=model) as table:
            table.ingest(tmp_path / "s")
    vectors = {
        "tiny": load_encoder("tiny").encode_text(["a cat"])[0],
        "ViT-B/32": files.expected_text("a cat"),
    }
    rows = np.load(tmp_path / "s" / "img_emb" / "img_emb_0.npy").astype("f4")
    service = Service(
        ServeSettings(
            db=str(tmp_path / "db"),
            tables=tuple(models),
            model_dir=str(tmp_path / "models"),
            workers=1,
        )
    )
    assert service.start() == []
    try:
        for _ in range(2):
            for name, model in models.items():
                asked = service.search(name, [Operand(words="a cat")], Request(k=5))
                expected = np.argsort(-(rows @ vectors[model]))[:5]
                assert [hit.id for hit in asyncio.run(asked)] == expected.tolist()
        assert counted(service.metrics) == (4, 2)
        shown = service.metrics.exposition().decode()
        assert "cliphouse_word_cache_bytes 5" in shown
    finally:
        service.close()
