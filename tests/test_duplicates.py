"""The same pictures, and nearly the same, are found in groups."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cliphouse.errors import QueryError
from cliphouse.inspection.alike import connected
from cliphouse.models import load_encoder
from cliphouse.pictures.embed import embed_folder
from conftest import OpenTable, Run
from pictures_model import picture_bytes

TINY = load_encoder("tiny")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six different pictures, two of them twice, and one saved again in another format."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(6):
        (folder / f"picture {number}.png").write_bytes(picture_bytes(number))
    for number in (1, 2):
        (folder / f"copy of {number}.png").write_bytes(picture_bytes(number))
    with Image.open(folder / "picture 3.png") as image:
        image.convert("RGB").save(folder / "again 3.jpg", quality=95)
    return folder


def test_groups_are_those_of_the_vectors(
    tmp_path: Path, folder: Path, open_table: OpenTable
) -> None:
    embed_folder(folder, tmp_path / "s", TINY)
    table = open_table()
    table.ingest(tmp_path / "s")
    vectors = np.load(tmp_path / "s" / "img_emb" / "img_emb_0.npy").astype("f4")
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    for threshold in (0.999, 0.97, 0.5):
        alike = vectors @ vectors.T >= threshold
        for _ in range(len(alike)):  # until those that are connected by others are there too
            alike = (alike.astype(int) @ alike.astype(int)) > 0
        wanted = {tuple(np.flatnonzero(row).tolist()) for row in alike if row.sum() > 1}
        found = table.duplicates(threshold)
        assert {tuple(row.id for row in group.rows) for group in found} == wanted
    by_names = {
        tuple(sorted(Path(row.url).name for row in group.rows)): group.kind
        for group in table.duplicates(0.9999)
    }
    assert by_names[("copy of 1.png", "picture 1.png")] == "file"
    assert by_names[("copy of 2.png", "picture 2.png")] == "file"
    near = next(g for g in table.duplicates(0.97) if "again 3" in str(g.rows))
    assert near.kind == "picture"
    assert all(row.score >= 0.97 for row in near.rows)
    few = table.duplicates(0.9999, where="url LIKE '%1.png'")
    assert [len(group.rows) for group in few] == [2]
    with pytest.raises(QueryError, match=r"threshold 1\.5"):
        table.duplicates(1.5)


def test_vectors_that_are_all_alike_are_one_group() -> None:
    """And groups that come together late, over several blocks, are those of a search in width."""
    even = np.full((3000, 4), 0.5, "f4")
    assert [len(group) for group in connected(even, 0.97)] == [3000]
    angles = np.random.default_rng(0).permutation(np.r_[0:1500, 2000:3500]) / 1000
    turned = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype("f4")
    found = connected(turned, float(np.cos(0.0015)))
    sides = {frozenset(np.flatnonzero(angles < 1.75)), frozenset(np.flatnonzero(angles > 1.75))}
    assert {frozenset(group.tolist()) for group in found} == sides


def test_the_command_lists_them(folder: Path, run: Run) -> None:
    run("sync", "pictures", "--model", "tiny")
    lines = run("duplicates", "--threshold", 0.9999).stdout.splitlines()
    assert lines[0] == "2 rows, the same file"
    assert lines[-1] == "2 groups, 2 rows more than one of each"
    assert run("duplicates", "--where", "url LIKE '%nothing%'").stdout == "no duplicates\n"
    found = json.loads(run("duplicates", "--threshold", 0.9999, "--json").stdout)
    assert [(group["kind"], len(group["rows"])) for group in found] == [("file", 2)] * 2
