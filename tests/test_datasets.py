"""Datasets of img2dataset become shards: one for each input, with its metadata, once."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from cliphouse.errors import PictureError, ShardError
from cliphouse.models import load_encoder
from cliphouse.pictures.datasets.embed import embed_dataset
from cliphouse.pictures.datasets.find import find_inputs
from cliphouse.pictures.datasets.json_columns import json_table
from cliphouse.pictures.datasets.report import DatasetReport
from cliphouse.shards.locks import try_lock
from conftest import Run
from crash import Victim, changes
from forked import python
from img2dataset import TYPES, WRITERS, Sample, members, samples, write_tar, write_webdataset
from thorough import examples

TINY = load_encoder("tiny")

Row = tuple[np.ndarray, np.ndarray, dict[str, Any]]


def embed(place: Path | str, shards: Path, **options: Any) -> DatasetReport:
    inputs = find_inputs(str(place))
    assert inputs is not None
    return embed_dataset(inputs, shards, TINY, **options)


def rows_of(shards: Path, number: int) -> list[Row]:
    """A shard as numpy and pyarrow read it."""
    image = np.load(shards / "img_emb" / f"img_emb_{number}.npy")
    text = np.load(shards / "text_emb" / f"text_emb_{number}.npy")
    entries = pq.read_table(shards / "metadata" / f"metadata_{number}.parquet").to_pylist()
    assert image.dtype == text.dtype == np.float16
    return list(zip(image, text, entries, strict=True))


def check_rows(found: Sequence[Row], pairs: Sequence[Sample], tmp_path: Path) -> None:
    """The rows are those of ``pairs``, in their order."""
    assert [entry["key"] for _, _, entry in found] == [pair.key for pair in pairs]
    if not pairs:
        return
    pictures = []
    for pair in pairs:
        assert pair.picture is not None
        (tmp_path / "one.jpg").write_bytes(pair.picture)
        with Image.open(tmp_path / "one.jpg") as opened:
            pictures.append(opened.convert("RGB"))
    image = TINY.encode_image(pictures)
    text = TINY.encode_text([pair.caption for pair in pairs])
    assert np.allclose([row[0] for row in found], image, atol=2e-3)
    assert np.allclose([row[1] for row in found], text, atol=2e-3)


def got(pairs: Sequence[Sample]) -> list[Sample]:
    return [pair for pair in pairs if pair.picture is not None]


@pytest.mark.parametrize("kind", WRITERS)
def test_each_input_becomes_a_shard_with_its_metadata(tmp_path: Path, kind: str) -> None:
    shards = {number: samples(number, count) for number, count in ((0, 20), (1, 3), (12, 8))}
    for number, pairs in shards.items():
        WRITERS[kind](tmp_path / "data", number, pairs)
    seen: list[tuple[int, int]] = []
    report = embed(
        tmp_path / "data", tmp_path / "s", progress=lambda done, total: seen.append((done, total))
    )
    wanted = {number: got(pairs) for number, pairs in shards.items()}
    assert [(one.outcome, one.rows) for one in report.inputs] == [
        ("embedded", len(pairs)) for pairs in wanted.values()
    ]
    assert report.is_complete
    assert seen[-1] == (sum(map(len, wanted.values())),) * 2
    if kind == "parquet":  # the others have no trace of what was not downloaded but their report
        assert [one.absent for one in report.inputs] == [2, 0, 1]
    for number, pairs in wanted.items():
        found = rows_of(tmp_path / "s", number)
        check_rows(found, pairs, tmp_path)
        schema = pq.read_schema(tmp_path / "s" / "metadata" / f"metadata_{number}.parquet")
        assert [schema.field(name).type for name in TYPES.names] == TYPES.types
        for (_, _, entry), pair in zip(found, pairs, strict=True):
            path = entry.pop("image_path")
            assert entry == pair.metadata
            if kind == "files":
                assert Path(path).read_bytes() == pair.picture
            else:
                assert path == pair.key


def test_what_is_done_is_not_done_again(tmp_path: Path) -> None:
    for number in (0, 1, 2):
        write_webdataset(tmp_path / "data", number, samples(number, 5))
    embed(tmp_path / "data", tmp_path / "s")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "s").rglob("*.*")}
    write_webdataset(tmp_path / "data", 1, samples(8, 6))
    (tmp_path / "data" / "00002.tar").unlink()
    (tmp_path / "data").rename(tmp_path / "moved")  # what has not changed is known there too
    with pytest.raises(ShardError, match=r"is the shard of .*/data/00001\.tar, not of .*/moved/"):
        embed(tmp_path / "moved", tmp_path / "s")
    (tmp_path / "moved").rename(tmp_path / "data")
    report = embed(tmp_path / "data", tmp_path / "s")
    assert [(one.name, one.outcome, one.rows) for one in report.inputs] == [
        ("00000.tar", "there", 5),
        ("00001.tar", "embedded", 6),
    ]
    check_rows(rows_of(tmp_path / "s", 1), samples(8, 6), tmp_path)
    after = {path: path.stat().st_mtime_ns for path in (tmp_path / "s").rglob("*_[02].*")}
    assert after == {path: time for path, time in before.items() if path in after}
    assert len(after) == 6
    alone = embed(tmp_path / "data" / "00000.tar", tmp_path / "s")
    assert [(one.name, one.outcome) for one in alone.inputs] == [("00000.tar", "there")]


def test_bad_members_are_named_and_the_others_embedded(tmp_path: Path) -> None:
    """And what belongs to no pair is left alone."""
    a, b, c, d, e, f = samples(0, 6)
    files = {
        **{f"{a.key}.{suffix}": data for suffix, data in a.files().items() if suffix != "jpg"},
        **{f"in/{b.key}.{suffix}": data for suffix, data in b.files().items()},
        f"{c.key}.json": b"{",
        f"{c.key}.jpg": b"",
        f"{d.key}.JPG": d.files()["jpg"],
        f"{d.key}.cls": b"7",
        f"{e.key}.jpg": e.files()["jpg"][:200],
        f"{e.key}.txt": b"cut",
        f"{f.key}.png": f.files()["jpg"],
        f"{f.key}.txt": b"no UTF-8: \xff",
        f"{f.key}.json": b'{"caption": "another", "punsafe": NaN, "\\ud800": "\\ud800"}',
        "README": b"about",
    }
    (tmp_path / "data").mkdir()
    write_tar(tmp_path / "data" / "part-003.tar", files.items())
    (report,) = embed(tmp_path / "data", tmp_path / "s").inputs
    assert (report.outcome, report.rows, report.skipped) == ("embedded", 3, 3)
    assert {one.key: one.reason.split(":")[0] for one in report.named} == {
        a.key: "no picture",
        c.key: "its .json cannot be read",
        e.key: "cannot be read as a picture",
    }
    (_, _, first), (_, text, second), (_, _, third) = rows_of(tmp_path / "s", 3)
    assert (first["key"], first["caption"]) == (b.key, b.caption)
    assert (second["key"], second["caption"], second["url"]) == (d.key, "", None)
    assert np.allclose(text, TINY.encode_text([""])[0], atol=2e-3)
    assert (third["caption"], third["?"]) == ("no UTF-8: \ufffd", "?")
    assert np.isnan(third["punsafe"])
    again = embed(tmp_path / "data", tmp_path / "s").inputs[0]
    assert (again.outcome, again.rows, again.skipped, again.named) == ("there", 3, 3, ())


@settings(max_examples=examples(5, 12), deadline=None, suppress_health_check=list(HealthCheck))
@given(share=st.floats(0, 1), on_block=st.booleans(), is_damaged=st.booleans())
def test_a_tar_that_is_cut_off_gives_what_is_whole_and_is_named(
    tmp_path_factory: pytest.TempPathFactory, share: float, on_block: bool, is_damaged: bool
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    pairs = samples(3, 6)
    tar = folder / "0.tar"
    write_tar(tar, members(pairs))
    whole = tar.read_bytes()
    with tarfile.open(tar) as opened:
        ends = [entry.offset_data + entry.size for entry in opened][2::3]
    cut = round(ends[-1] * share)
    cut -= cut % 512 if on_block else 0
    # A block of other bytes, in the place of a header, a picture or a text; or nothing more.
    tar.write_bytes(whole[:cut] + (b"\x01" * 512 + whole[cut + 512 :] if is_damaged else b""))
    report = embed(tar, folder / "s")
    (one,) = report.inputs
    assert report.is_complete is not one.is_cut_off
    assert one.is_cut_off or one.rows + one.skipped == len(pairs)
    found = rows_of(folder / "s", 0) if one.rows else []
    if not is_damaged:
        assert one.is_cut_off
        # Of a single picture nothing says that all of its files are there.
        assert one.rows in {count := sum(end <= cut for end in ends), 0 if count == 1 else count}
        check_rows(found, pairs[: one.rows], folder)
    elif one.is_cut_off:
        assert [row[2]["key"] for row in found] == [pair.key for pair in pairs][: len(found)]
    tar.write_bytes(whole)
    os.utime(tar, ns=(1, 1))
    (mended,) = embed(tar, folder / "s").inputs
    assert (mended.outcome, mended.rows, mended.reason) == ("embedded", 6, "")
    check_rows(rows_of(folder / "s", 0), pairs, folder)


def test_a_cut_off_tar_is_named_by_each_run_and_never_left_half_old(tmp_path: Path) -> None:
    write_webdataset(tmp_path / "data", 0, samples(0, 6))
    tar = tmp_path / "data" / "00000.tar"
    whole = tar.read_bytes()
    tar.write_bytes(whole[: len(whole) // 2])
    first, second = (embed(tmp_path / "data", tmp_path / "s").inputs[0] for _ in range(2))
    assert (first.outcome, second.outcome) == ("embedded", "there")
    assert 0 < first.rows == second.rows < 6
    assert first.reason == second.reason != ""
    tar.write_bytes(b"")  # nothing is left of its shard then
    assert embed(tmp_path / "data", tmp_path / "s").inputs[0].rows == 0
    assert [path.name for path in (tmp_path / "s").rglob("*_0.*")] == []
    (tmp_path / "data" / "00001.parquet").write_bytes(b"PAR1")  # beside no tar: not looked at
    tar.write_bytes(whole)
    assert embed(tmp_path / "data", tmp_path / "s").inputs[0].rows == 6


def test_an_input_that_cannot_be_read_does_not_keep_the_others(tmp_path: Path) -> None:
    for number in (0, 1, 2):
        WRITERS["parquet"](tmp_path / "data", number, samples(number, 3))
    (tmp_path / "data" / "00001.parquet").write_bytes(b"PAR1 no more")
    report = embed(tmp_path / "data", tmp_path / "s")
    assert [one.outcome for one in report.inputs] == ["embedded", "failed", "embedded"]
    assert "arquet" in report.inputs[1].reason
    assert not report.is_complete
    assert not list((tmp_path / "s").rglob("*_1.*"))


_WORK = """
from cliphouse.models import ClipEncoder, load_encoder
from cliphouse.pictures.datasets.embed import embed_dataset
from cliphouse.pictures.datasets.find import find_inputs
from pathlib import Path
crash.watch(step, ClipEncoder, "encode_image", "encode_text")
crash.watch(step, Path, "replace")
embed_dataset(find_inputs("data"), Path("s"), load_encoder("tiny"))
"""


@pytest.fixture
def three_tars(tmp_path: Path) -> Path:
    """The second is cut off, and of the third members are missing."""
    for number in (0, 1, 2):
        write_webdataset(tmp_path / "data", number, samples(number, 40))
    second = tmp_path / "data" / "00001.tar"
    second.write_bytes(second.read_bytes()[:90_000])
    kept = [pair for row, pair in enumerate(members(samples(2, 40))) if row % 5]
    write_tar(tmp_path / "data" / "00002.tar", kept)
    return tmp_path / "data"


def shards_equal(one: Path, other: Path) -> None:
    names = {path.relative_to(one) for path in one.rglob("*.*") if path.suffix != ".json"}
    assert names == {p.relative_to(other) for p in other.rglob("*.*") if p.suffix != ".json"}
    assert len(names) == 9
    for number in (0, 1, 2):
        left, right = rows_of(one, number), rows_of(other, number)
        assert [row[2] for row in left] == [row[2] for row in right]
        for side in (0, 1):
            assert np.array_equal([row[side] for row in left], [row[side] for row in right])


def test_killed_at_any_step_it_ends_as_a_clean_run(tmp_path: Path, three_tars: Path) -> None:
    clean = embed(three_tars, tmp_path / "clean")
    assert [one.rows for one in clean.inputs] == [35, clean.inputs[1].rows, 28]
    assert 0 < clean.inputs[1].rows < 35
    assert clean.inputs[1].is_cut_off
    victim = Victim(tmp_path, _WORK)
    steps = victim.steps()
    kinds = [kind for kind in changes(steps) if kind != "replace s"]  # the manifest, once for all
    assert {kind.split("/")[-1] for kind in kinds} >= {
        *("encode_image", "encode_text", "replace img_emb", "replace text_emb"),
        "replace metadata",
    }
    shutil.rmtree(tmp_path / "s")
    assert victim.kill_after(steps.index(kinds[-1]) + 3, 0)
    for kind in kinds:
        if kind != "encode_text":  # nothing has changed since encode_image
            assert victim.kill_at(kind), kind
        assert len(list((tmp_path / "s").glob("metadata/*.parquet"))) == 1  # of three
    chance = random.Random(1)
    for _ in range(examples(1, 8)):
        victim.kill_after(chance.randint(1, len(steps)), chance.uniform(0, 0.02))
    victim.steps()
    for lock in (tmp_path / "s").rglob("*.lock"):
        lock.unlink()  # of a process that was killed
    shards_equal(tmp_path / "s", tmp_path / "clean")


def test_several_processes_share_the_inputs(tmp_path: Path, three_tars: Path) -> None:
    clean = embed(three_tars, tmp_path / "clean")
    told = "import sys; print(*(r.outcome for r in report.inputs)); sys.exit(0)"
    work = _WORK.replace("crash.watch", "#").replace(
        "embed_dataset(find", "report = embed_dataset(find"
    )
    code = [*python(), "-c", f"{work}\n{told}"]
    started = [
        subprocess.Popen(code, cwd=tmp_path, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    outcomes = [process.communicate()[0].split() for process in started]
    assert [process.returncode for process in started] == [0, 0]
    for number in (0, 1, 2):
        assert [one[number] for one in outcomes].count("embedded") == 1
    shards_equal(tmp_path / "s", tmp_path / "clean")
    assert [one.outcome for one in embed(three_tars, tmp_path / "s").inputs] == ["there"] * 3
    assert clean.is_complete is False


def test_what_another_process_has_is_left_to_it(tmp_path: Path) -> None:
    for number in (0, 1):
        write_webdataset(tmp_path / "data", number, samples(number, 4))
    with try_lock(tmp_path / "s" / "metadata" / "metadata_0.lock") as is_ours:
        assert is_ours
        report = embed(tmp_path / "data", tmp_path / "s")
    assert [one.outcome for one in report.inputs] == ["busy", "embedded"]
    assert f"process {os.getpid()} on " in report.inputs[0].reason
    report = embed(tmp_path / "data", tmp_path / "s")
    assert [one.outcome for one in report.inputs] == ["embedded", "there"]


def test_a_dataset_is_told_by_its_layout_and_its_names(tmp_path: Path) -> None:
    def made(*names: str) -> str:
        folder = tmp_path / f"f{len(list(tmp_path.iterdir()))}"
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(b"")
        return str(folder)

    found = find_inputs(made("train-00003-of-00100.tar", "train-00012-of-00100.tar", "notes.txt"))
    assert [one.number for one in found or ()] == [3, 12]
    assert find_inputs(made("2019/a.jpg", "backup-2019.tar")) is None
    assert find_inputs(made("a.jpg", "00000.tar")) is None
    assert find_inputs(made("00000/a.jpg", "00001/b.jpg")) is None
    assert [one.number for one in find_inputs(made("00007/a.jpg", "00007_stats.json")) or ()] == [7]
    with pytest.raises(PictureError, match=r"cats\.tar: its name must end in a number below"):
        find_inputs(made("cats.tar"))
    with pytest.raises(PictureError, match=r"a1\.tar and .*b1\.tar have the same number"):
        find_inputs(made("a1.tar", "b1.tar"))
    with pytest.raises(PictureError, match=r"0\.tar: no such file"):
        find_inputs(made("1.tar") + "/0.tar")
    with pytest.raises(ShardError, match="gone: no such folder"):
        find_inputs(str(tmp_path / "gone"))
    with pytest.raises(ShardError, match=r"s3://bucket/data: cannot be opened: .*s3fs"):
        find_inputs("s3://bucket/data")


@pytest.mark.parametrize("kind", WRITERS)
def test_a_dataset_behind_a_url(tmp_path: Path, kind: str) -> None:
    for number in (0, 1):
        WRITERS[kind](tmp_path / "data", number, samples(number, 4))
    store = fsspec.filesystem("memory")
    store.put(str(tmp_path / "data"), f"/{kind}", recursive=True)
    try:
        report = embed(f"memory://{kind}", tmp_path / "s")
        assert [one.rows for one in report.inputs] == [4, 4]
        found = rows_of(tmp_path / "s", 1)
        check_rows(found, samples(1, 4), tmp_path)
        if kind == "files":
            assert found[0][2]["image_path"] == f"memory:///{kind}/00001/000010000.jpg"
        with pytest.raises(PictureError, match=r"memory://: no dataset; expected 00000\.tar"):
            find_inputs("memory://")
    finally:
        store.rm(f"/{kind}", recursive=True)


def test_shards_of_others_are_left_alone(tmp_path: Path) -> None:
    write_webdataset(tmp_path / "data", 0, samples(0, 3))
    write_webdataset(tmp_path / "other", 0, samples(1, 4))
    embed(tmp_path / "data", tmp_path / "s")
    with pytest.raises(ShardError, match=r"is the shard of .*data/00000\.tar"):
        embed(tmp_path / "other", tmp_path / "s")
    (tmp_path / "d" / "metadata").mkdir(parents=True)
    pq.write_table(pa.table({"a": [1]}), tmp_path / "d" / "metadata" / "metadata_0.parquet")
    with pytest.raises(ShardError, match="d: has shards of another program"):
        embed(tmp_path / "data", tmp_path / "d")
    assert len(rows_of(tmp_path / "s", 0)) == 3


_SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=5)
)
_VALUES = st.one_of(
    _SCALARS,
    st.lists(_SCALARS, max_size=3),
    st.dictionaries(st.text(max_size=2), _SCALARS, max_size=2),
)


@settings(max_examples=examples(10, 25), deadline=None)
@given(rows=st.lists(st.dictionaries(st.sampled_from("abc"), _VALUES), min_size=1, max_size=6))
def test_metadata_of_any_kind_becomes_columns(rows: list[dict[str, Any]]) -> None:
    table = json_table([json.dumps(row).encode() for row in rows], None)
    stream = pa.BufferOutputStream()
    pq.write_table(table, stream)
    found = pq.read_table(pa.BufferReader(stream.getvalue())).to_pylist()
    assert len(found) == len(rows)
    for name in {name for row in rows for name in row}:
        given_values = [row.get(name) for row in rows]
        values = [row[name] for row in found]
        for value, wanted in zip(values, given_values, strict=True):
            if isinstance(value, str) and not isinstance(wanted, str):
                value = json.loads(value)  # of several types, or an object
            assert same(value, wanted)


def same(value: Any, wanted: Any) -> bool:
    if isinstance(value, list) and isinstance(wanted, list):
        return len(value) == len(wanted) and all(map(same, value, wanted))
    if isinstance(value, dict) and isinstance(wanted, dict):
        return value.keys() == wanted.keys() and all(same(value[k], wanted[k]) for k in value)
    if isinstance(value, float) and isinstance(wanted, float):
        return value == wanted or (value != value and wanted != wanted)
    return bool(value == wanted)


def test_from_tars_to_a_search_by_a_kept_column(tmp_path: Path, run: Run) -> None:
    """On the command line, with a tar that is cut off."""
    for number in (0, 1):
        write_webdataset(tmp_path / "data", number, samples(number, 10))
    cut = tmp_path / "data" / "00001.tar"
    cut.write_bytes(cut.read_bytes()[:20_000])
    told = run("embed", "data", "--to", "shards", "--model", "tiny")
    assert told.returncode == 1, told.stderr
    rows = len(rows_of(tmp_path / "shards", 1))
    assert re.search(rf"00001\.tar: ends too early \(.+\) after {rows} pictures", told.stderr)
    assert told.stdout == (
        f"{9 + rows} pictures embedded from 2 files, 0 there from 0 files, 0 skipped, "
        "1 file cut off\n"
    )
    assert run("ingest", "shards").returncode == 0
    where = "punsafe < 0.5 AND original_width > 100 AND id < 4294967296"
    wanted = [
        pair.metadata
        for pair in got(samples(0, 10))
        if (pair.metadata["punsafe"] or 1) < 0.5 and pair.metadata["original_width"] > 100
    ]
    select = f"SELECT key, sha256, similarity FROM laion WHERE {where} ORDER BY id"
    table = run("sql", select, "--format", "csv").stdout.splitlines()[1:]
    assert len(table) == len(wanted) > 0
    for line, metadata in zip(table, wanted, strict=True):
        key, digest, similarity = line.replace('"', "").split(",")
        assert (key, digest) == (metadata["key"], metadata["sha256"])
        assert float(similarity) == pytest.approx(metadata["similarity"], abs=1e-6)
