"""Reading a shard: alignment, types, names of columns, and every broken file named."""

from __future__ import annotations

import contextlib
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cliphouse.errors import ShardError
from cliphouse.schema.columns import COLUMNS, metadata_fields
from cliphouse.shards.files import DataFile, find_shards
from cliphouse.shards.metadata import MetadataFile
from cliphouse.shards.npy import NpyFile
from cliphouse.shards.reader import BatchLimits, ShardReader
from shard_files import MadeShard, make_shard
from thorough import examples


def read(made: MadeShard, start: int = 0, stop: int | None = None) -> pa.Table:
    opened = ShardReader.open(find_shards([str(made.folder)], {made.number})[0])
    return pa.concat_tables(opened.batches(metadata_fields(COLUMNS), start, stop))


def vectors(table: pa.Table, column: str) -> np.ndarray:
    lists = table.column(column).combine_chunks()
    return lists.flatten().to_numpy().reshape(len(lists), -1)


@settings(max_examples=examples(20, 40), deadline=None)
@given(
    rows=st.integers(1, 90),
    row_group=st.integers(1, 40),
    batch=st.integers(1, 40),
    dtype=st.sampled_from(["<f2", "<f4"]),
    cut=st.tuples(st.integers(0, 90), st.integers(0, 90)),
)
def test_rows_stay_aligned_however_the_files_are_cut(
    tmp_path_factory: pytest.TempPathFactory,
    rows: int,
    row_group: int,
    batch: int,
    dtype: str,
    cut: tuple[int, int],
) -> None:
    made = make_shard(tmp_path_factory.mktemp("shard"), 3, rows, dtype=dtype, row_group=row_group)
    start, stop = sorted(min(edge, rows) for edge in cut)
    opened = ShardReader.open(find_shards([str(made.folder)])[0])
    opened = replace(opened, limits=BatchLimits(rows=batch))
    batches = list(opened.batches(metadata_fields(COLUMNS), start, stop))
    assert [len(b) for b in batches[:-1]] == [batch] * (len(batches) - 1)
    if start == stop:
        assert not batches
        return
    table = pa.concat_tables(batches)
    wanted = slice(start, stop)
    assert table.column("id").to_pylist() == made.ids[wanted].tolist()
    assert np.array_equal(vectors(table, "image_embedding"), made.image[wanted].astype("f4"))
    assert made.text is not None
    assert np.array_equal(vectors(table, "text_embedding"), made.text[wanted].astype("f4"))
    assert table.column("caption").cast("string").to_pylist() == made.metadata["caption"][wanted]
    assert table.column("width").to_pylist() == made.metadata["width"][wanted]


@pytest.mark.parametrize(
    ("written", "ours"),
    [
        ("TEXT", "caption"),
        ("caption", "caption"),
        ("Caption", "caption"),
        ("URL", "url"),
        ("url", "url"),
        ("LICENSE", "license"),
        ("license", "license"),
        ("nsfw", "NSFW"),
        ("NSFW", "NSFW"),
    ],
)
def test_text_columns_under_every_name(tmp_path: Path, written: str, ours: str) -> None:
    made = make_shard(tmp_path, rows=2, metadata={written: ["one", "two"]})
    assert read(made).column(ours).to_pylist() == [b"one", b"two"]


def test_absent_columns_and_nulls_have_documented_values(tmp_path: Path) -> None:
    absent = read(make_shard(tmp_path / "a", rows=2, with_text=False, metadata={"key": ["1", "2"]}))
    nulls: dict[str, Any] = {
        "url": [None, "u"],
        "caption": pa.array([None, "c"], pa.large_string()),
        "NSFW": pa.array([None, "NSFW"]).dictionary_encode(),
        "similarity": [None, 0.5],
        "width": [None, 640.0],
        "height": ["480", None],
    }
    filled = read(make_shard(tmp_path / "b", rows=2, with_text=False, metadata=nulls))
    for table in (absent.slice(0, 1), filled.slice(0, 1)):
        row = table.to_pylist()[0]
        assert (row["url"], row["caption"], row["NSFW"], row["license"]) == (b"", b"", b"", b"")
        assert np.isnan(row["similarity"])
        assert row["width"] == 0
    assert filled.column("height").to_pylist() == [480, 0]
    assert filled.slice(1).to_pylist()[0]["caption"] == b"c"
    assert filled.slice(1).to_pylist()[0]["NSFW"] == b"NSFW"


def test_a_missing_url_takes_image_path(tmp_path: Path) -> None:
    only_path = read(make_shard(tmp_path / "a", rows=2, metadata={"image_path": ["/a", "/b"]}))
    assert only_path.column("url").to_pylist() == [b"/a", b"/b"]
    both = {"image_path": ["/a", "/b"], "url": ["u", None]}
    assert read(make_shard(tmp_path / "b", rows=2, metadata=both)).column("url").to_pylist() == [
        b"u",
        b"/b",
    ]


def test_a_missing_similarity_is_the_cosine_of_the_pair(tmp_path: Path) -> None:
    made = make_shard(tmp_path, rows=30, metadata={"caption": ["x"] * 30})
    assert made.text is not None
    image, text = made.image.astype("f8"), made.text.astype("f8")
    cosine = (image * text).sum(1) / np.linalg.norm(image, axis=1) / np.linalg.norm(text, axis=1)
    assert np.allclose(read(made).column("similarity").to_numpy(), cosine, atol=1e-6)


def test_text_keeps_every_byte(tmp_path: Path) -> None:
    captions = [
        b'it\'s "q"\t\n\r\0\\',
        "emoji 🐈 é".encode(),
        b"\xff\xfe not utf-8",
        b"x" * 100_000,
    ]
    not_validated = pa.array(captions, pa.binary()).view(pa.string())
    made = make_shard(tmp_path, rows=4, metadata={"TEXT": not_validated})
    assert read(made).column("caption").to_pylist() == captions


def test_numbers_that_are_none_are_as_unknown(tmp_path: Path) -> None:
    metadata: dict[str, Any] = {
        "width": ["640", " 7.6 ", "", "wide", "1e3", "99999999999"],
        "height": [2**40, 480, None, -1, 0, 2**31],
        "similarity": ["0.25", "nan?", "", "1e-1", "-.5", "3."],
    }
    table = read(make_shard(tmp_path, rows=6, metadata=metadata))
    assert table.column("width").to_pylist() == [640, 8, 0, 0, 1000, 0]
    assert table.column("height").to_pylist() == [0, 480, 0, -1, 0, 0]
    expected = np.array([0.25, np.nan, np.nan, 0.1, -0.5, 3], np.float32)
    assert np.array_equal(table.column("similarity").to_numpy(), expected, equal_nan=True)


def test_numbers_of_a_dictionary_are_like_plain_ones(tmp_path: Path) -> None:
    metadata: dict[str, Any] = {
        "width": pa.array(["640", "?", None, "640"]).dictionary_encode(),
        "height": pa.array([480, None, 480, 7]).dictionary_encode(),
        "similarity": pa.array(["0.25", "-1", "?", None]).dictionary_encode(),
    }
    table = read(make_shard(tmp_path, rows=4, metadata=metadata))
    assert table.column("width").to_pylist() == [640, 0, 0, 640]
    assert table.column("height").to_pylist() == [480, 0, 480, 7]
    expected = np.array([0.25, -1, np.nan, np.nan], np.float32)
    assert np.array_equal(table.column("similarity").to_numpy(), expected, equal_nan=True)


def test_of_several_columns_a_row_takes_the_first_that_is_not_null(tmp_path: Path) -> None:
    metadata: dict[str, Any] = {
        "TEXT": ["t0", "t1", "t2", None],
        "URL": ["U0", "U1", None, None],
        "caption": [None, "c1", "", None],
        "url": ["u0", None, None, None],
        "image_path": ["/0", "/1", "/2", None],
        "WIDTH": ["1", "?", "3", None],
        "width": [None, 20, 30, None],
    }
    table = read(make_shard(tmp_path, rows=4, metadata=metadata))
    assert table.column("caption").to_pylist() == [b"t0", b"c1", b"", b""]
    assert table.column("url").to_pylist() == [b"U0", b"U1", b"/2", b""]
    assert table.column("width").to_pylist() == [1, 20, 3, 0]


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("caption", [["a", "b"], None]),
        ("URL", [{"host": "x"}, {"host": "y"}]),
        ("width", [[1], [2]]),
        ("similarity", [{"a": 1.0}, None]),
        ("license", pa.array([[("a", 1)], None], pa.map_(pa.string(), pa.int64()))),
    ],
)
def test_a_column_that_is_no_text_or_number_is_named(
    tmp_path: Path, name: str, values: Any
) -> None:
    made = make_shard(tmp_path, rows=2, metadata={name: values})
    with pytest.raises(
        ShardError, match=rf"metadata_0\.parquet: column {name} \((list|struct|map)"
    ):
        read(made)


def test_vectors_without_a_length_are_told_by_row(tmp_path: Path) -> None:
    vectors = np.ones((20, 8), "f4")
    vectors[4], vectors[9] = 1e-25, 1e25
    make_and_break(tmp_path, "img_emb_0.npy", vectors)
    refuse(tmp_path, r"row 9 holds .*beyond 1e15 and row 4 holds .*below 1e-15")


def test_a_column_that_is_there_twice_is_named(tmp_path: Path) -> None:
    make_shard(tmp_path)
    twice = pa.table([["a"] * 20, ["b"] * 20], names=["url", "url"])
    pq.write_table(twice, tmp_path / "metadata" / "metadata_0.parquet")
    with pytest.raises(ShardError, match=r"metadata_0\.parquet: has the column url twice"):
        read(MadeShard(tmp_path, 0, np.ones((20, 8)), None))


def test_memory_is_bounded_by_the_batch(tmp_path: Path) -> None:
    made = make_shard(tmp_path, rows=20_000, dim=256, row_group=1000)
    whole = sum(path.stat().st_size for path in tmp_path.rglob("*.*"))
    opened = ShardReader.open(find_shards([str(made.folder)])[0])
    opened = replace(opened, limits=BatchLimits(rows=1000))
    top = 0
    tracemalloc.start()
    for batch in opened.batches(metadata_fields(COLUMNS)):
        assert batch.num_rows == 1000
        top = max(top, pa.total_allocated_bytes() + tracemalloc.get_traced_memory()[1])
    tracemalloc.stop()
    assert top < whole / 5


def make_and_break(folder: Path, name: str, data: bytes | np.ndarray) -> None:
    make_shard(folder, rows=20)
    path = next(folder.rglob(name))
    if isinstance(data, bytes):
        path.write_bytes(data)
    else:
        np.save(path, data)


def refuse(folder: Path, match: str) -> None:
    with pytest.raises(ShardError, match=match) as caught:
        ShardReader.open(find_shards([str(folder)])[0]).check_values()
    assert "\n" not in str(caught.value)


def test_different_lengths_are_told_with_both_counts(tmp_path: Path) -> None:
    make_and_break(tmp_path, "img_emb_0.npy", np.ones((19, 8), "f2"))
    refuse(tmp_path, r"does not line up: .*img_emb_0\.npy has 19 rows, .*parquet has 20 rows")


@pytest.mark.parametrize("dtype", ["<f8", ">f4", "<i4"])
def test_a_wrong_dtype_is_named(tmp_path: Path, dtype: str) -> None:
    make_and_break(tmp_path, "img_emb_0.npy", np.ones((20, 8), dtype))
    refuse(tmp_path, rf"img_emb_0\.npy: dtype {dtype}, but embeddings are float16 or float32")


def test_a_wrong_dimension_is_named(tmp_path: Path) -> None:
    make_and_break(tmp_path, "text_emb_0.npy", np.ones((20, 9), "f2"))
    refuse(tmp_path, r"text_emb_0\.npy has dimension 9, .*img_emb_0\.npy has 8")


def test_a_wrong_shape_is_named(tmp_path: Path) -> None:
    make_and_break(tmp_path, "img_emb_0.npy", np.ones(20, "f2"))
    refuse(tmp_path, r"shape \(20,\), but embeddings have shape \(rows, dim\)")


def test_fortran_order_is_named(tmp_path: Path) -> None:
    make_and_break(tmp_path, "img_emb_0.npy", np.asfortranarray(np.ones((20, 8), "f2")))
    refuse(tmp_path, r"img_emb_0\.npy: stored in Fortran order")


def test_nan_and_zero_vectors_are_told_by_row(tmp_path: Path) -> None:
    bad = np.ones((20, 8), "f2")
    bad[3, 2], bad[11, 7], bad[17] = np.nan, -np.inf, 0
    make_and_break(tmp_path, "img_emb_0.npy", bad)
    refuse(tmp_path, r"rows 3, 11 hold NaN, infinity .* and row 17 holds only zeros")


def test_many_bad_rows_are_counted(tmp_path: Path) -> None:
    make_and_break(tmp_path, "text_emb_0.npy", np.zeros((20, 8), "f4"))
    refuse(tmp_path, r"text_emb_0\.npy: rows 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 10 more hold only")


@settings(max_examples=examples(20, 50), deadline=None)
@given(
    dtype=st.sampled_from(["<f2", "<f4"]),
    bad=st.dictionaries(st.integers(0, 49), st.sampled_from([np.nan, np.inf, -np.inf, 0.0])),
)
def test_bad_rows_are_those_numpy_finds(
    tmp_path_factory: pytest.TempPathFactory, dtype: str, bad: dict[int, float]
) -> None:
    folder = tmp_path_factory.mktemp("shard")
    made = make_shard(folder, rows=50, dtype=dtype)
    for row, value in bad.items():
        made.image[row] = 0 if value == 0 else made.image[row]
        made.image[row, row % 8] = value
    np.save(folder / "img_emb" / "img_emb_0.npy", made.image)
    faulty = ~np.isfinite(made.image).all(1) | ~made.image.any(1)
    opened = ShardReader.open(find_shards([str(folder)])[0])
    if not faulty.any():
        opened.check_values()
        return
    with pytest.raises(ShardError) as caught:
        opened.check_values()
    for row in np.flatnonzero(faulty)[:5]:
        assert str(row) in str(caught.value)


def test_a_truncated_npy_tells_both_sizes(tmp_path: Path) -> None:
    make_shard(tmp_path)
    path = tmp_path / "img_emb" / "img_emb_0.npy"
    path.write_bytes(path.read_bytes()[:-5])
    refuse(tmp_path, r"img_emb_0\.npy: truncated: 443 bytes, but 20 rows of 8 x float16 take 448")


@pytest.mark.parametrize("data", [b"", b"\x93NUMPY", b"<html>404</html>"])
def test_no_npy_is_named(tmp_path: Path, data: bytes) -> None:
    make_and_break(tmp_path, "img_emb_0.npy", data)
    refuse(tmp_path, r"img_emb_0\.npy: not a readable \.npy file")


@settings(max_examples=examples(100, 300), deadline=None)
@given(
    header=st.binary(max_size=200), version=st.sampled_from([b"\1\0", b"\2\0", b"\3\0", b"\7\0"])
)
def test_any_damaged_header_is_told_as_one(
    tmp_path_factory: pytest.TempPathFactory, header: bytes, version: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "img_emb_0.npy"
    path.write_bytes(b"\x93NUMPY" + version + header)
    details = fsspec.filesystem("file").info(str(path))
    with pytest.raises(ShardError, match=r"img_emb_0\.npy: "):
        NpyFile.open(DataFile(fsspec.filesystem("file"), str(path), details["size"], ""))


@settings(max_examples=examples(40, 100), deadline=None)
@given(st.data())
def test_a_damaged_footer_is_told_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "metadata_0.parquet"
    pq.write_table(pa.table({"caption": ["é"] * 9, "url": ["u"] * 9}), path)
    content = bytearray(path.read_bytes())
    at = data.draw(st.integers(len(content) // 2, len(content) - 1))
    content[at] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    file = DataFile(fsspec.filesystem("file"), str(path), len(content), "")
    with contextlib.suppress(ShardError):
        for table in MetadataFile.open(file).read(metadata_fields(COLUMNS), 0, 9, 4):
            assert table.num_rows


@pytest.mark.parametrize("data", [b"", b"PAR1", b"<html>404</html>"])
def test_no_parquet_is_named(tmp_path: Path, data: bytes) -> None:
    make_and_break(tmp_path, "metadata_0.parquet", data)
    refuse(tmp_path, r"metadata_0\.parquet: not a readable parquet file")


def test_a_parquet_damaged_inside_is_named(tmp_path: Path) -> None:
    made = make_shard(tmp_path, rows=2000)
    path = tmp_path / "metadata" / "metadata_0.parquet"
    pq.write_table(pa.table(made.metadata), path, compression="zstd")
    data = bytearray(path.read_bytes())
    data[4 : len(data) // 2] = b"\0" * (len(data) // 2 - 4)
    path.write_bytes(bytes(data))
    with pytest.raises(ShardError, match=r"metadata_0\.parquet: damaged parquet file"):
        read(made)


def test_a_column_of_another_kind_is_named(tmp_path: Path) -> None:
    made = make_shard(tmp_path, rows=1, metadata={"similarity": [[0.5]]})
    with pytest.raises(ShardError, match=r"column similarity \(list.*\) cannot be read as simil"):
        read(made)
