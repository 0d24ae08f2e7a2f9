"""A folder of pictures becomes shards: aligned, incremental, and whole after any crash."""

from __future__ import annotations

import os
import random
import resource
import shutil
import socket
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from cliphouse.errors import ModelError, PictureError, ShardError, UserError
from cliphouse.models import load_encoder
from cliphouse.pictures.drawn import write_pictures
from cliphouse.pictures.embed import EmbedOptions, EmbedSizes, embed_folder
from crash import Victim, changes
from thorough import examples

TINY = load_encoder("tiny")


class CountingEncoder:
    """The tiny model; ``encoded`` gets the number of pictures of each call."""

    name, dim, decoding_edge = TINY.name, TINY.dim, TINY.decoding_edge

    def __init__(self, encoded: list[int]) -> None:
        self.encoded = encoded

    def encode_text(self, texts: Sequence[str]) -> np.ndarray:
        return TINY.encode_text(texts)

    def encode_image(self, images: Sequence[Image.Image]) -> np.ndarray:
        self.encoded.append(len(images))
        return TINY.encode_image(images)

    def shrink(self, image: Image.Image) -> Image.Image:
        return TINY.shrink(image)


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


def draw_others(folder: Path, count: int) -> None:
    """Pictures with other names."""
    write_pictures(folder, count, seed=9)
    for path in sorted(folder.iterdir()):
        path.rename(path.with_name(f"other {path.name}"))


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
    assert after.keys() == before.keys() - {"picture_00004.jpg"} | {"brand_new.jpg"}
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
    for name in before.keys() - {f"picture_0000{number}.jpg" for number in (2, 3, 4)}:
        assert np.array_equal(after[name][0], before[name][0])
    assert embed_folder(pictures, tmp_path / "s", TINY).unchanged == 30


def test_bad_pictures_are_named_and_the_others_embedded(tmp_path: Path, pictures: Path) -> None:
    (pictures / "broken.jpg").write_bytes(b"no picture")
    (pictures / "cut.jpg").write_bytes((pictures / "picture_00001.jpg").read_bytes()[:900])
    Image.new("L", (400, 300)).save(pictures / "giant.png")
    os.link(pictures / "picture_00001.jpg", os.fsencode(pictures) + b"/bad\xff.jpg")
    report = embed_folder(pictures, tmp_path / "s", TINY, options=EmbedOptions(max_pixels=100_000))
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
        EmbedOptions(sizes=EmbedSizes(shard=12, batch=5)),
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
from cliphouse.pictures.embed import EmbedOptions, EmbedSizes, embed_folder
from pathlib import Path
crash.watch(step, ClipEncoder, "encode_image", "encode_text")
crash.watch(step, Path, "replace")
options = EmbedOptions(sizes=EmbedSizes(6, 4), allow_delete=True)
embed_folder(Path("pictures"), Path("s"), load_encoder("tiny"), options=options)
"""


def test_killed_at_any_step_it_ends_as_a_clean_run(tmp_path: Path) -> None:
    """At each kind of step of a run that embeds, changes, renames and removes, with what the kill
    before has left; and at random."""
    write_pictures(tmp_path / "pictures", 40, seed=2)
    pictures = sorted((tmp_path / "pictures").glob("*.jpg"))
    victim = Victim(tmp_path, _EMBED)
    first = victim.steps()
    assert {kind.split("/")[-1] for kind in changes(first)} >= {
        *("encode_image", "encode_text", "replace img_emb", "replace text_emb"),
        *("replace metadata", "replace unfinished"),
    }
    shutil.rmtree(tmp_path / "s")
    for kind in ("replace unfinished", "replace img_emb"):
        assert victim.kill_at(kind), kind
    victim.steps()
    for number, picture in enumerate(pictures):
        if number % 5 == 0:
            picture.unlink()
        elif number % 5 == 1:
            picture.rename(picture.with_name(f"renamed {number}.jpg"))
        elif number % 5 == 2:
            shutil.copy(pictures[(number + 7) % 40 // 5 * 5 + 3], picture)
    shutil.copytree(tmp_path / "s", tmp_path / "before")
    steps = victim.steps()
    shutil.rmtree(tmp_path / "s")
    (tmp_path / "before").rename(tmp_path / "s")
    for kind in changes(steps):
        assert victim.kill_at(kind), kind
    chance = random.Random(1)
    for _ in range(examples(1, 8)):
        victim.kill_after(chance.randint(1, len(steps)), chance.uniform(0, 0.02))
    victim.steps()
    embed_folder(tmp_path / "pictures", tmp_path / "clean", TINY)
    clean, found = rows(tmp_path / "clean"), rows(tmp_path / "s")
    assert found.keys() == clean.keys()
    for name, (image, text, entry) in clean.items():
        # Not bit for bit: a picture's batch decides in which order its products are added.
        assert np.allclose(found[name][0], image, atol=2e-3)
        assert np.allclose(found[name][1], text, atol=2e-3)
        assert found[name][2]["caption"] == entry["caption"]
        assert found[name][2]["file_hash"] == entry["file_hash"]
    assert not list((tmp_path / "s").rglob("*.part"))
    assert not (tmp_path / "s" / "unfinished").exists()


def test_a_killed_run_loses_one_batch(tmp_path: Path) -> None:
    write_pictures(tmp_path / "pictures", 40, seed=2)
    victim = Victim(tmp_path, _EMBED.replace("EmbedSizes(6, 4)", "EmbedSizes(4096, 4)"))
    steps = victim.steps()
    shutil.rmtree(tmp_path / "s")
    assert victim.kill_after([i for i, s in enumerate(steps, 1) if s == "encode_image"][7], 0)
    seen: list[int] = []
    report = embed_folder(
        tmp_path / "pictures", tmp_path / "s", TINY, lambda done, _: seen.append(done)
    )
    assert (seen[0], report.new) == (28, 40)


def test_a_run_that_fails_before_its_first_row_leaves_nothing(
    tmp_path: Path, pictures: Path
) -> None:
    """Not even the name of its model, which would lock the folder for others."""
    missing = load_encoder("ViT-B/32", str(tmp_path / "no model"))
    with pytest.raises(ModelError):
        embed_folder(pictures, tmp_path / "new" / "s", missing)
    assert not (tmp_path / "new").exists()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "x.jpg").write_bytes(b"no picture")
    assert len(embed_folder(tmp_path / "bad", tmp_path / "s", missing).skipped) == 1
    assert not (tmp_path / "s").exists()
    assert embed_folder(pictures, tmp_path / "s", TINY).new == 30


def test_two_runs_at_once_on_one_folder_of_shards(tmp_path: Path, pictures: Path) -> None:
    """The second says who the first is, or waits for it."""
    draw_others(tmp_path / "others", 12)
    refused: list[str] = []
    waited: list[str] = []
    waiting: list[threading.Thread] = []

    def others(**options: object) -> None:
        embed_folder(tmp_path / "others", tmp_path / "s", TINY, options=EmbedOptions(**options))

    def meanwhile(done: int, total: int) -> None:
        if waiting:
            return
        with pytest.raises(UserError) as error:
            others(wait=0)
        refused.append(str(error.value))
        has_met = threading.Event()

        def on_wait(holder: str) -> None:
            waited.append(holder)
            has_met.set()

        thread = threading.Thread(target=others, kwargs={"wait": 60, "on_wait": on_wait})
        waiting.append(thread)
        thread.start()
        assert has_met.wait(20)

    embed_folder(pictures, tmp_path / "s", TINY, meanwhile)
    waiting[0].join()
    here = f"embed on {socket.gethostname()}, process {os.getpid()}, since "
    assert f"s: {here}" in refused[0]
    assert "or wait longer for it with --wait SECONDS" in refused[0]
    assert waited[0].startswith(here)
    assert len(rows(tmp_path / "s")) == 42
    assert sorted(path.name for path in (tmp_path / "s").iterdir()) == [
        *("cliphouse.json", "img_emb", "metadata", "text_emb")
    ]


def test_rows_follow_their_files(tmp_path: Path, pictures: Path) -> None:
    """Renamed, moved, touched and copied: none is embedded again that has its row."""
    shards = tmp_path / "s"
    embed_folder(pictures, shards, TINY)
    before = rows(shards)
    (pictures / "picture_00001.jpg").rename(pictures / "new name.jpg")
    (pictures / "deep").mkdir()
    for suffix in ("jpg", "txt"):
        name = f"picture_00002.{suffix}"
        (pictures / name).rename(pictures / "deep" / name)
    os.utime(pictures / "picture_00003.jpg", (1, 1))
    exchanged = pictures / "picture_00004.jpg", pictures / "picture_00005.jpg"
    data = [path.read_bytes() for path in exchanged]
    for path, other in zip(exchanged, reversed(data), strict=True):
        path.write_bytes(other)
    preview = embed_folder(pictures, shards, TINY, options=EmbedOptions(dry_run=True))
    assert rows(shards).keys() == before.keys()
    encoded: list[int] = []
    report = embed_folder(pictures, shards, CountingEncoder(encoded))
    counts = (report.new, report.changed, report.renamed, report.gone, report.unchanged)
    assert counts == (0, 0, 4, 0, 26)
    assert (preview.renamed, preview.unchanged, preview.gone) == (4, 26, 0)
    assert encoded == []
    after = rows(shards)
    assert np.array_equal(after["new name.jpg"][0], before["picture_00001.jpg"][0])
    assert after["new name.jpg"][2]["shard_row"] == before["picture_00001.jpg"][2]["shard_row"]
    assert after["new name.jpg"][2]["caption"] == "new name"
    assert np.array_equal(after["picture_00004.jpg"][0], before["picture_00005.jpg"][0])
    assert after["picture_00003.jpg"][2]["file_mtime_ns"] == 10**9
    assert embed_folder(pictures, shards, TINY).unchanged == 30


def test_a_moved_folder_keeps_its_rows_and_two_folders_theirs(
    tmp_path: Path, pictures: Path
) -> None:
    shards = tmp_path / "s"
    draw_others(tmp_path / "others", 5)
    embed_folder(pictures, shards, TINY)
    assert embed_folder(tmp_path / "others", shards, TINY).gone == 0
    pictures.rename(tmp_path / "moved")
    report = embed_folder(tmp_path / "moved", shards, TINY)
    assert (report.new, report.renamed, report.gone) == (0, 30, 0)
    paths = {str(entry["image_path"]) for _, _, entry in rows(shards).values()}
    assert not any(path.startswith(f"{pictures}/") for path in paths)
    assert len(paths) == 35


def test_a_moved_folder_that_has_changed_loses_what_is_gone(tmp_path: Path, pictures: Path) -> None:
    shards = tmp_path / "s"
    embed_folder(pictures, shards, TINY)
    moved = pictures.rename(tmp_path / "moved")
    for number in range(1, 6):
        (moved / f"picture_{number:05}.jpg").unlink()
    report = embed_folder(moved, shards, TINY)
    assert (report.renamed, report.gone, len(rows(shards))) == (25, 5, 25)
    again = moved.rename(tmp_path / "again")
    for path in again.iterdir():
        path.unlink()
    Image.new("RGB", (30, 30), "red").save(again / "other.png")
    assert embed_folder(again, shards, TINY).gone == 0  # nothing says that it is the same folder
    options = EmbedOptions(moved_from=moved, allow_delete=True)
    assert embed_folder(again, shards, TINY, options=options).gone == 25
    assert rows(shards).keys() == {"other.png"}


def test_numbers_of_rows_are_not_given_twice(tmp_path: Path, pictures: Path) -> None:
    shards, options = tmp_path / "s", EmbedOptions(sizes=EmbedSizes(shard=12, batch=5))

    def numbers() -> dict[str, tuple[str, object]]:
        found = {}
        for path in shards.glob("metadata/*.parquet"):
            for entry in pq.read_table(path).to_pylist():
                found[entry["image_path"]] = (path.stem, entry["shard_row"])
        return found

    embed_folder(pictures, shards, TINY, options=options)
    before = numbers()
    last = max(before, key=before.__getitem__)
    assert before[last] == ("metadata_2", 5)
    Path(last).unlink()
    shutil.copy(pictures / "picture_00001.jpg", pictures / "zz.jpg")
    embed_folder(pictures, shards, TINY, options=options)
    after = numbers()
    assert after.pop(str(pictures / "zz.jpg")) == ("metadata_2", 6)
    assert after == {path: number for path, number in before.items() if path != last}


def test_many_that_are_gone_are_a_question(tmp_path: Path, pictures: Path) -> None:
    shards = tmp_path / "s"
    embed_folder(pictures, shards, TINY)
    before = rows(shards).keys()
    away = tmp_path / "away"
    pictures.rename(away)
    with pytest.raises(PictureError, match="no such folder"):
        embed_folder(pictures, shards, TINY)
    pictures.mkdir()
    with pytest.raises(PictureError, match="30 of its 30 pictures are gone; if a disk is not"):
        embed_folder(pictures, shards, TINY)
    assert rows(shards).keys() == before
    for number in range(1, 16):
        shutil.copy(away / f"picture_{number:05}.jpg", pictures)
    with pytest.raises(PictureError, match="give --allow-delete"):
        (pictures / "picture_00001.jpg").unlink()
        embed_folder(pictures, shards, TINY)
    report = embed_folder(pictures, shards, TINY, options=EmbedOptions(allow_delete=True))
    assert (report.gone, len(rows(shards))) == (16, 14)
    shutil.rmtree(pictures)
    pictures.mkdir()
    embed_folder(pictures, shards, TINY, options=EmbedOptions(allow_delete=True))
    assert rows(shards) == {}
    away.rename(pictures)


def test_a_picture_that_is_damaged_later_loses_its_row(tmp_path: Path, pictures: Path) -> None:
    shards = tmp_path / "s"
    embed_folder(pictures, shards, TINY)
    (pictures / "picture_00001.jpg").write_bytes(b"no picture")
    report = embed_folder(pictures, shards, TINY)
    assert [item.path.name for item in report.skipped] == ["picture_00001.jpg"]
    assert len(rows(shards)) == 29
    again = embed_folder(pictures, shards, TINY)
    assert (again.unchanged, again.named_before) == (29, again.skipped)


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
