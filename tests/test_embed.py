"""A folder of pictures becomes shards: aligned, incremental, and whole after any crash."""

from __future__ import annotations

import os
import random
import resource
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from cliphouse.errors import PictureError, ShardError
from cliphouse.models import load_encoder
from cliphouse.pictures.drawn import write_pictures
from cliphouse.pictures.embed import EmbedSizes, embed_folder
from crash import Victim, changes

TINY = load_encoder("tiny")


def rows(shards: Path) -> dict[str, tuple[np.ndarray, np.ndarray, dict[str, object]]]:
    """Everything the shards hold, by the picture's name, read with numpy and pyarrow."""
    found = {}
    for metadata in sorted(shards.glob("metadata/*.parquet")):
        number = metadata.stem.split("_")[-1]
        image = np.load(shards / "img_emb" / f"img_emb_{number}.npy")
        text = np.load(shards / "text_emb" / f"text_emb_{number}.npy")
        entries = pq.read_table(metadata).to_pylist()
        assert len(image) == len(text) == len(entries)
        for vectors in zip(image, text, entries, strict=True):
            name = Path(str(vectors[2]["image_path"])).name
            assert name not in found, "a picture has two rows"
            found[name] = vectors
    return found


def expected(picture: Path, caption: str) -> tuple[np.ndarray, np.ndarray]:
    with Image.open(picture) as opened:
        image = TINY.encode_image([opened.convert("RGB")])[0]
    return image, TINY.encode_text([caption])[0]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    write_pictures(tmp_path / "pictures", 30, seed=1)
    return tmp_path / "pictures"


def test_every_picture_has_its_own_row(tmp_path: Path, pictures: Path) -> None:
    report = embed_folder(pictures, tmp_path / "s", TINY)
    assert (report.new, report.changed, report.unchanged, report.skipped) == (30, 0, 0, [])
    found = rows(tmp_path / "s")
    assert found.keys() == {path.name for path in pictures.glob("*.jpg")}
    for name, (image, text, entry) in found.items():
        caption = (pictures / name).with_suffix(".txt").read_text().strip()
        wanted_image, wanted_text = expected(pictures / name, caption)
        assert image.dtype == np.float16
        assert np.allclose(image, wanted_image, atol=2e-3)
        assert np.allclose(text, wanted_text, atol=2e-3)
        assert entry["caption"] == caption
        assert entry["similarity"] == pytest.approx(float(wanted_image @ wanted_text), abs=1e-4)
        with Image.open(pictures / name) as opened:
            assert (entry["width"], entry["height"]) == opened.size


def test_a_second_run_does_only_what_is_new_or_changed(tmp_path: Path, pictures: Path) -> None:
    embed_folder(pictures, tmp_path / "s", TINY)
    before = rows(tmp_path / "s")
    untouched = {path: path.stat().st_mtime_ns for path in (tmp_path / "s").rglob("*.npy")}
    again = embed_folder(pictures, tmp_path / "s", TINY)
    assert (again.new, again.changed, again.unchanged) == (0, 0, 30)
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "s").rglob("*.npy")} == untouched

    shutil.copy(pictures / "picture_00001.jpg", pictures / "brand_new.jpg")
    (pictures / "picture_00002.txt").write_text("a red circle")
    Image.new("RGB", (70, 90), "blue").save(pictures / "picture_00003.jpg")
    (pictures / "picture_00004.jpg").unlink()
    report = embed_folder(pictures, tmp_path / "s", TINY)
    assert (report.new, report.changed, report.unchanged, report.gone) == (1, 2, 27, 1)
    after = rows(tmp_path / "s")
    assert after.keys() == before.keys() | {"brand_new.jpg"}
    assert np.allclose(
        after["picture_00002.jpg"][1], TINY.encode_text(["a red circle"])[0], atol=2e-3
    )
    assert after["brand_new.jpg"][2]["caption"] == "brand new"
    blue, _ = expected(pictures / "picture_00003.jpg", "")
    assert np.allclose(after["picture_00003.jpg"][0], blue, atol=2e-3)
    assert (after["picture_00003.jpg"][2]["width"], after["picture_00003.jpg"][2]["height"]) == (
        70,
        90,
    )
    for name in before.keys() - {"picture_00002.jpg", "picture_00003.jpg"}:
        assert np.array_equal(after[name][0], before[name][0])
    assert embed_folder(pictures, tmp_path / "s", TINY).unchanged == 30


def test_bad_pictures_are_named_and_the_others_embedded(tmp_path: Path, pictures: Path) -> None:
    (pictures / "broken.jpg").write_bytes(b"no picture")
    (pictures / "cut.jpg").write_bytes((pictures / "picture_00001.jpg").read_bytes()[:900])
    Image.new("L", (400, 300)).save(pictures / "giant.png")
    os.link(pictures / "picture_00001.jpg", os.fsencode(pictures) + b"/bad\xff.jpg")
    report = embed_folder(pictures, tmp_path / "s", TINY, max_pixels=100_000)
    reasons = {os.fsencode(item.path.name): item.reason for item in report.skipped}
    assert reasons.keys() == {b"broken.jpg", b"cut.jpg", b"giant.png", b"bad\xff.jpg"}
    assert "cannot be read as a picture" in reasons[b"broken.jpg"]
    assert "400 x 300 pixels" in reasons[b"giant.png"]
    assert "not valid UTF-8" in reasons[b"bad\xff.jpg"]
    assert len(rows(tmp_path / "s")) == report.new == 30


def test_pictures_are_spread_over_shards(tmp_path: Path, pictures: Path) -> None:
    seen: list[tuple[int, int]] = []
    embed_folder(
        pictures,
        tmp_path / "s",
        TINY,
        lambda done, total: seen.append((done, total)),
        sizes=EmbedSizes(shard=12, batch=5),
    )
    assert sorted(path.name for path in (tmp_path / "s" / "img_emb").iterdir()) == [
        "img_emb_0.npy",
        "img_emb_1.npy",
        "img_emb_2.npy",
    ]
    assert len(rows(tmp_path / "s")) == 30
    assert seen[-1] == (30, 30)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_other_files_in_the_folder_are_left_alone(tmp_path: Path, pictures: Path) -> None:
    embed_folder(pictures, tmp_path / "s", TINY)
    kept = ["firefox.iso.part", "laion/img_emb/img_emb_5.npy", "img_emb/my_emb_9.npy", "x.npy"]
    for name in kept:
        (tmp_path / "s" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "s" / name).write_bytes(b"mine")
    assert embed_folder(pictures, tmp_path / "s", TINY).unchanged == 30
    assert all((tmp_path / "s" / name).read_bytes() == b"mine" for name in kept)
    (tmp_path / "d" / "img_emb").mkdir(parents=True)
    (tmp_path / "d" / "img_emb" / "img_emb_0.npy").write_bytes(b"downloaded")
    with pytest.raises(ShardError, match="d: has shards of another program"):
        embed_folder(pictures, tmp_path / "d", TINY)
    assert (tmp_path / "d" / "img_emb" / "img_emb_0.npy").read_bytes() == b"downloaded"


def test_a_thin_picture_takes_little_memory(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    Image.new("RGB", (1, 300_000), "red").save(tmp_path / "p" / "thin.png")
    Image.new("RGB", (20_000, 3), "red").save(tmp_path / "p" / "wide.png")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert embed_folder(tmp_path / "p", tmp_path / "s", TINY).new == 2
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 200_000  # kB; scaled up whole, it would be gigabytes
    red = TINY.encode_image([Image.new("RGB", (64, 64), "red")])[0]
    for image, _, _ in rows(tmp_path / "s").values():
        assert np.allclose(image, red, atol=2e-3)


def test_what_cannot_be_done_is_named(tmp_path: Path, pictures: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(PictureError, match="empty: no pictures here"):
        embed_folder(tmp_path / "empty", tmp_path / "s", TINY)
    (tmp_path / "other" / "metadata").mkdir(parents=True)
    (tmp_path / "other" / "metadata" / "metadata_0.parquet").write_bytes(b"")
    with pytest.raises(ShardError, match="other: has shards of another program"):
        embed_folder(pictures, tmp_path / "other", TINY)
    (tmp_path / "vit").mkdir()
    (tmp_path / "vit" / "cliphouse.json").write_text('{"model": "ViT-B/32", "dim": 512}')
    with pytest.raises(ShardError, match="vit: has shards of model ViT-B/32; give --model"):
        embed_folder(pictures, tmp_path / "vit", TINY)
    (tmp_path / "vit" / "cliphouse.json").write_text("{")
    with pytest.raises(ShardError, match=r"cliphouse\.json: damaged"):
        embed_folder(pictures, tmp_path / "vit", TINY)


_EMBED = """
from cliphouse.models import ClipEncoder, load_encoder
from cliphouse.pictures.embed import embed_folder
from cliphouse.pictures.embed import EmbedSizes
from pathlib import Path
crash.watch(step, ClipEncoder, "encode_image", "encode_text")
crash.watch(step, Path, "replace")
embed_folder(Path("pictures"), Path("s"), load_encoder("tiny"), sizes=EmbedSizes(6, 4))
"""


def test_killed_at_any_step_it_ends_as_a_clean_run(tmp_path: Path) -> None:
    """At each kind of step, with one shard that is whole and what the kill before has left; and at
    random."""
    write_pictures(tmp_path / "pictures", 40, seed=2)
    embed_folder(tmp_path / "pictures", tmp_path / "clean", TINY)
    clean = rows(tmp_path / "clean")
    victim = Victim(tmp_path, _EMBED)
    steps = victim.steps()
    kinds = [kind for kind in changes(steps) if kind != "replace s"]  # the manifest, once for all
    assert {kind.split("/")[-1] for kind in kinds} >= {
        *("encode_image", "encode_text", "replace img_emb", "replace text_emb"),
        "replace metadata",
    }
    shutil.rmtree(tmp_path / "s")
    assert victim.kill_after(steps.index(kinds[-1]) + 2, 0)
    for kind in kinds:
        assert victim.kill_at(kind), kind
        assert len(list((tmp_path / "s").glob("metadata/*.parquet"))) == 1  # of seven
    chance = random.Random(1)
    for _ in range(3):
        victim.kill_after(chance.randint(1, len(steps)), chance.uniform(0, 0.02))
    victim.steps()
    found = rows(tmp_path / "s")
    assert found.keys() == clean.keys()
    for name, (image, text, entry) in clean.items():
        # Not bit for bit: a picture's batch decides in which order its products are added.
        assert np.allclose(found[name][0], image, atol=2e-3)
        assert np.allclose(found[name][1], text, atol=2e-3)
        assert found[name][2]["caption"] == entry["caption"]
    assert not list((tmp_path / "s").rglob("*.part"))


def test_a_changed_shard_killed_halfway_is_mended(tmp_path: Path, pictures: Path) -> None:
    """New embeddings beside the old metadata, as a kill between the renames leaves them."""
    embed_folder(pictures, tmp_path / "s", TINY)
    kept = (tmp_path / "s" / "metadata" / "metadata_0.parquet").read_bytes()
    Image.new("RGB", (70, 90), "blue").save(pictures / "picture_00003.jpg")
    embed_folder(pictures, tmp_path / "s", TINY)
    (tmp_path / "s" / "metadata" / "metadata_0.parquet").write_bytes(kept)
    assert embed_folder(pictures, tmp_path / "s", TINY).changed == 1
    blue, _ = expected(pictures / "picture_00003.jpg", "")
    found = rows(tmp_path / "s")
    assert np.allclose(found["picture_00003.jpg"][0], blue, atol=2e-3)
    assert found["picture_00003.jpg"][2]["width"] == 70
