"""Loading: every row once, byte for byte, however often and from wherever."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import given, settings
from hypothesis import strategies as st

from clip_files import make_clip_files
from cliphouse.engine.connection import Connection
from cliphouse.errors import ShardError, TableError
from cliphouse.loading.bfloat16 import bfloat16_bits
from cliphouse.loading.lease import LeaseTimes
from cliphouse.loading.options import LoadSettings
from cliphouse.models import load_encoder
from cliphouse.schema.columns import COLUMNS, metadata_fields
from cliphouse.shards.files import find_shards
from cliphouse.shards.reader import BatchLimits, ShardReader
from cliphouse.table import Table
from conftest import OpenTable
from hooked import Hooks, hooked_ingest, small_batches
from shard_files import MadeShard, make_shard
from thorough import examples


def stored(table: Table, column: str, precision: str = "Float32") -> np.ndarray:
    found = table.sql(f"SELECT CAST({column}, 'Array(Float32)') AS v FROM laion ORDER BY id")
    return np.array(found.column("v").to_pylist(), np.float32)


def stored_ids(table: Table) -> list[int]:
    return table.sql("SELECT id FROM laion ORDER BY id").column("id").to_pylist()


def check_equal(table: Table, *made: MadeShard) -> None:
    """The table holds exactly the rows of ``made``."""
    assert stored_ids(table) == [row_id for shard in made for row_id in shard.ids.tolist()]
    image = np.concatenate([shard.image for shard in made]).astype("f4")
    assert np.array_equal(stored(table, "image_embedding"), image)
    found = table.sql("SELECT caption, url, width FROM laion ORDER BY id")
    for column in ("caption", "url", "width"):
        expected = [value for shard in made for value in shard.metadata[column]]
        assert found.column(column).to_pylist() == expected


def unfinish(table: Table, shard: int = 0) -> None:
    """Let the ledger say what a load leaves that was killed."""
    table.sql(
        "INSERT INTO laion_ledger (shard, state, rows, files, worker, generation) "
        "SELECT shard, 'loading', rows, files, worker, generation + 1 FROM laion_ledger "
        f"WHERE state = 'done' AND shard = {shard}"
    )


def test_loads_every_value(tmp_path: Path, open_table: OpenTable) -> None:
    shards = [make_shard(tmp_path / "s", number, rows) for number, rows in ((0, 30), (7, 12))]
    table = open_table()
    report = table.ingest(tmp_path / "s")
    assert [(load.shard, load.rows, load.inserted) for load in report.loads] == [
        (0, 30, 30),
        (7, 12, 12),
    ]
    check_equal(table, *shards)
    text = np.concatenate([shard.text for shard in shards if shard.text is not None])
    assert np.array_equal(stored(table, "text_embedding"), text.astype("f4"))
    similarity = table.sql("SELECT similarity FROM laion ORDER BY id").column("similarity")
    expected = [value for shard in shards for value in shard.metadata["similarity"]]
    assert np.array_equal(similarity.to_numpy(), np.array(expected, "f4"))


def test_loading_twice_is_loading_once(tmp_path: Path, open_table: OpenTable) -> None:
    made = make_shard(tmp_path / "s")
    table = open_table()
    table.ingest(tmp_path / "s")
    table.close()
    again = open_table()
    assert again.ingest(tmp_path / "s").inserted == 0
    check_equal(again, made)


def test_an_empty_shard_is_loaded_too(tmp_path: Path, open_table: OpenTable) -> None:
    made = make_shard(tmp_path / "s", 0)
    make_shard(tmp_path / "s", 1, rows=0)
    table = open_table()
    report = table.ingest(tmp_path / "s")
    assert [(load.rows, load.inserted) for load in report.loads] == [(20, 20), (0, 0)]
    check_equal(table, made)


def test_a_selection_of_shards(tmp_path: Path, open_table: OpenTable) -> None:
    shards = [make_shard(tmp_path / "s", number) for number in range(4)]
    table = open_table()
    table.ingest(tmp_path / "s", shards={1, 3})
    check_equal(table, shards[1], shards[3])
    table.ingest(tmp_path / "s")
    check_equal(table, *shards)


def test_without_text_embeddings(tmp_path: Path, open_table: OpenTable) -> None:
    make_shard(tmp_path / "s", with_text=False, metadata={"TEXT": ["x"] * 20})
    table = open_table()
    table.ingest(tmp_path / "s")
    assert table.info.modalities == ("image",)
    row = table.sql("SELECT similarity, NSFW, width FROM laion LIMIT 1").to_pylist()[0]
    assert np.isnan(row["similarity"])
    assert (row["NSFW"], row["width"]) == ("", 0)


@settings(max_examples=examples(3, 6), deadline=None)
@given(st.sets(st.integers(0, 29), max_size=30), st.integers(1, 12))
def test_only_missing_rows_are_loaded(
    tmp_path_factory: pytest.TempPathFactory, gone: set[int], batch: int
) -> None:
    """Rows are taken out of an unfinished load; the next run puts back just those."""
    folder = tmp_path_factory.mktemp("t")
    made = make_shard(folder / "s", rows=30)
    with Table(folder / "db") as table:
        table.ingest(folder / "s", settings=small_batches(batch))
        if gone:
            listed = ", ".join(map(str, gone))
            table.connection.command(f"DELETE FROM laion WHERE id IN ({listed})")
        unfinish(table)
        report = table.ingest(folder / "s", settings=small_batches(batch))
        assert report.inserted == len(gone)
        check_equal(table, made)


GUIDE_TABLE = (
    "CREATE TABLE laion (id Int64, url String, caption String, NSFW String, "
    "similarity Float32, image_embedding Array(Float32), text_embedding Array(Float32)) "
    "ENGINE = MergeTree ORDER BY id"
)


def test_metadata_is_decoded_once(
    tmp_path: Path, open_table: OpenTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever begins within a row group decodes its rows before: batch by batch, that would be
    twenty times half of this one. Some rows are read besides, to choose the columns' types."""
    make_shard(tmp_path / "s", rows=200)
    decoded = 0
    iter_batches = pq.ParquetFile.iter_batches

    def counted(*args: Any, **options: Any) -> Iterator[pa.RecordBatch]:
        nonlocal decoded
        for batch in iter_batches(*args, **options):
            decoded += batch.num_rows
            yield batch

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", counted)
    assert open_table().ingest(tmp_path / "s", settings=small_batches(10)).inserted == 200
    assert 200 <= decoded <= 2 * 200


@pytest.mark.parametrize("foreign", [False, True])
def test_two_loads_of_one_shard_at_once_do_not_double_it(
    tmp_path: Path, open_table: OpenTable, foreign: bool
) -> None:
    """Each takes the shard as if the other were dead. Both see an empty table and send every batch;
    the engine keeps each token once, also in a table made by the guide's statement."""
    others_are_dead = LoadSettings(BatchLimits(rows=10), LeaseTimes(dead=-1))
    first = make_shard(tmp_path / "first", number=0)
    made = make_shard(tmp_path / "s", number=1, rows=200)
    table = open_table()
    if foreign:
        table.ingest(tmp_path / "first")
        table.sql("DROP TABLE laion")
        table.sql(GUIDE_TABLE)
        table.sql("TRUNCATE TABLE laion_ledger")
    table.ingest(tmp_path / "first")
    both_looked = threading.Barrier(2, timeout=30)

    class LookTogether(Hooks):
        def __init__(self) -> None:
            self.looks = 0

        def statement(self, sql: str, run: Callable[[], Any]) -> Any:
            found = run()
            if sql.startswith("SELECT id FROM") and self.looks < 2:  # before and after its inserts
                self.looks += 1
                both_looked.wait()
            return found

    errors: list[BaseException] = []

    def load() -> None:
        try:
            hooked_ingest(tmp_path / "laion.chdb", tmp_path / "s", LookTogether(), others_are_dead)
        except BaseException as error:  # noqa: BLE001 - told in the test's own thread
            errors.append(error)

    threads = [threading.Thread(target=load) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert stored_ids(table) == [*first.ids.tolist(), *made.ids.tolist()]
    images = np.concatenate([first.image, made.image]).astype("f4")
    assert np.array_equal(stored(table, "image_embedding"), images)


def test_loads_from_a_url(tmp_path: Path, open_table: OpenTable) -> None:
    made = make_shard(tmp_path / "s", 2)
    fsspec.filesystem("memory").put(str(tmp_path / "s") + "/", "/ingest-url/", recursive=True)
    table = open_table()
    table.ingest("memory://ingest-url")
    check_equal(table, made)
    assert table.ingest("memory://ingest-url").inserted == 0


def test_text_arrives_byte_for_byte(tmp_path: Path, open_table: OpenTable) -> None:
    texts = [
        b'it\'s "q"\t\n\r\0\\N',
        "emoji 🐈".encode(),
        b"\xff\xfe no utf-8",
        b"x" * 100_000,
        b"",
    ]
    column = pa.array(texts, pa.binary()).view(pa.string())
    make_shard(tmp_path / "s", rows=5, metadata={"caption": column, "url": column})
    table = open_table()
    table.ingest(tmp_path / "s")
    found = table.sql("SELECT hex(caption) AS c, hex(url) AS u FROM laion ORDER BY id")
    assert [bytes.fromhex(text) for text in found.column("c").to_pylist()] == texts
    assert [bytes.fromhex(text) for text in found.column("u").to_pylist()] == texts


def test_bfloat16_is_rounded_to_nearest(tmp_path: Path, open_table: OpenTable) -> None:
    made = make_shard(tmp_path / "s", rows=100, dim=64, dtype="<f4")
    table = open_table()
    table.ingest(tmp_path / "s", precision="bfloat16")
    kept = stored(table, "image_embedding")
    exact = made.image.astype(np.float64)
    # A bfloat16 has 8 bits of significand: half a unit in the last place is 2^-9 of its power of 2.
    half_step = 2.0 ** (np.floor(np.log2(np.abs(exact))) - 8)
    assert (np.abs(kept - exact) <= half_step).all()
    assert (kept.view(np.uint32) & 0xFFFF == 0).all()
    assert table.info.precision == "bfloat16"


def test_every_float16_arrives_exactly(tmp_path: Path, open_table: OpenTable) -> None:
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)
    halves = halves[np.isfinite(halves) & (halves != 0)]
    halves = halves[: len(halves) // 8 * 8].reshape(-1, 8)
    made = make_shard(tmp_path / "s", rows=len(halves), with_text=False)
    np.save(tmp_path / "s" / "img_emb" / "img_emb_0.npy", halves)
    table = open_table()
    table.ingest(tmp_path / "s")
    assert np.array_equal(stored(table, "image_embedding"), halves.astype("f4"))
    table.close()
    rounded = open_table(tmp_path / "rounded")
    rounded.ingest(tmp_path / "s", precision="bfloat16")
    expected = bfloat16_bits(halves.astype("f4")).view(np.float32)
    assert np.array_equal(stored(rounded, "image_embedding"), expected)
    assert made.rows == len(halves)


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1))
def test_bfloat16_rounding_is_nearest_even(values: list[float]) -> None:
    from_float = np.array(values, np.float32)
    bits = bfloat16_bits(from_float)
    assert (bits & 0xFFFF == 0).all()
    below = (from_float.view(np.uint32) & 0xFFFF0000).view(np.float32).astype(np.float64)
    above = ((from_float.view(np.uint32) & 0xFFFF0000) + 0x10000).view(np.float32)
    above = above.astype(np.float64)
    above[np.isinf(above)] = np.copysign(2.0**128, above[np.isinf(above)])
    exact = from_float.astype(np.float64)
    up = np.abs(above - exact) < np.abs(exact - below)
    tie = np.abs(above - exact) == np.abs(exact - below)
    odd = (from_float.view(np.uint32) >> 16) & 1 == 1
    expected = (from_float.view(np.uint32) & 0xFFFF0000) + np.where(up | (tie & odd), 0x10000, 0)
    assert np.array_equal(bits, expected.astype(np.uint32))


def test_changed_files_are_refused_then_replaced(tmp_path: Path, open_table: OpenTable) -> None:
    other = make_shard(tmp_path / "s", 0)
    make_shard(tmp_path / "s", 1, rows=30)
    table = open_table()
    table.ingest(tmp_path / "s")
    changed = make_shard(tmp_path / "s", 1, rows=25, seed=99)
    with pytest.raises(TableError, match=r"shard 1: its files have changed .* give --replace"):
        table.ingest(tmp_path / "s")
    assert len(stored_ids(table)) == 50
    report = table.ingest(tmp_path / "s", replace=True)
    assert [load.replaced for load in report.loads] == [False, True]
    check_equal(table, other, changed)
    assert table.ingest(tmp_path / "s").inserted == 0
    assert table.info.model is None  # the table's own comment came along


def test_deleted_rows_stay_deleted_until_replaced(tmp_path: Path, open_table: OpenTable) -> None:
    made = make_shard(tmp_path / "s", 1)
    table = open_table()
    table.ingest(tmp_path / "s")
    table.sql(f"DELETE FROM laion WHERE id < {2**32 + 5}")
    again = table.ingest(tmp_path / "s")
    assert [(load.inserted, load.gone) for load in again.loads] == [(0, 5)]
    assert len(stored_ids(table)) == 15
    for _ in range(4):  # however often: the engine still knows the tokens of the first load
        assert table.ingest(tmp_path / "s", replace=True).inserted == 5
        check_equal(table, made)
        table.sql(f"DELETE FROM laion WHERE id < {2**32 + 5}")


def test_a_dropped_table_is_loaded_anew(tmp_path: Path, open_table: OpenTable) -> None:
    made = make_shard(tmp_path / "s")
    table = open_table()
    table.ingest(tmp_path / "s")
    table.sql("DROP TABLE laion")
    assert table.ingest(tmp_path / "s").inserted == 20
    check_equal(table, made)


class TimelessStore(MemoryFileSystem):
    """A store that tells neither an ETag nor a time."""

    protocol = "timeless"

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return MemoryFileSystem._strip_protocol(path.removeprefix("timeless://"))

    def info(self, path: str, **more: Any) -> dict[str, Any]:
        return _without_times(super().info(path, **more))

    def ls(self, path: str, detail: bool = True, **more: Any) -> list[Any]:
        found = super().ls(path, detail=True, **more)
        return [_without_times(entry) if detail else entry["name"] for entry in found]


def _without_times(entry: dict[str, Any]) -> dict[str, Any]:
    return {name: entry[name] for name in ("name", "size", "type")}


def test_a_change_without_a_version_is_seen(tmp_path: Path, open_table: OpenTable) -> None:
    fsspec.register_implementation("timeless", TimelessStore, clobber=True)
    store = fsspec.filesystem("timeless")
    make_shard(tmp_path / "s", 2)
    store.put(str(tmp_path / "s") + "/", "/no-version/", recursive=True)
    table = open_table()
    table.ingest("timeless://no-version")
    assert table.ingest("timeless://no-version").inserted == 0
    changed = make_shard(tmp_path / "s", 2, seed=9)
    store.put(str(tmp_path / "s") + "/", "/no-version/", recursive=True)
    with pytest.raises(TableError, match="its files have changed"):
        table.ingest("timeless://no-version")
    table.ingest("timeless://no-version", replace=True)
    check_equal(table, changed)


class Once(Hooks):
    """Another connection loads ``folder``, once: just before the first insert of rows, or just
    before a statement with this ``beginning``."""

    def __init__(self, db: Path, folder: Path, beginning: str | None = None) -> None:
        self._db = db
        self._folder = folder
        self._beginning = beginning
        self._lock = threading.Lock()
        self._is_over = False

    def statement(self, sql: str, run: Callable[[], Any]) -> Any:
        if self._beginning is not None and sql.startswith(self._beginning):
            self._load()
        return run()

    def insert(self, connection: Connection, table: str, *more: Any) -> None:
        if self._beginning is None:
            self._load()
        connection.insert(table, *more)

    def _load(self) -> None:
        with self._lock:
            if not self._is_over:
                self._is_over = True
                with Table(self._db) as other:
                    other.ingest(self._folder, replace=True)


def test_two_replacements_at_once_do_not_mix(tmp_path: Path, open_table: OpenTable) -> None:
    """The one that comes to its exchange second sees that the table is not what it copied."""
    for number in (0, 1):
        make_shard(tmp_path / "s", number)
    table = open_table()
    table.ingest(tmp_path / "s")
    for number in (0, 1):
        make_shard(tmp_path / f"new{number}", number, seed=50 + number)
    db = tmp_path / "laion.chdb"
    replaced_meanwhile = Once(db, tmp_path / "new0")
    with pytest.raises(TableError, match="another process is loading into it; replace shard 1"):
        hooked_ingest(db, tmp_path / "new1", replaced_meanwhile, replace=True)
    assert table.check(tmp_path / "new0").is_good
    assert table.sql("SHOW TABLES").column("name").to_pylist() == ["laion", "laion_ledger"]
    assert [e.replaced for e in table.ingest(tmp_path / "new1", replace=True).loads] == [True]
    assert table.check(tmp_path / "new1").is_good


def test_a_load_that_ends_just_before_the_exchange_is_not_lost(
    tmp_path: Path, open_table: OpenTable
) -> None:
    make_shard(tmp_path / "s", 0)
    make_shard(tmp_path / "more", 1)
    make_shard(tmp_path / "new", 0, seed=50)
    table = open_table()
    table.ingest(tmp_path / "s")
    db = tmp_path / "laion.chdb"
    loaded_just_before = Once(db, tmp_path / "more", "EXCHANGE")
    with pytest.raises(TableError, match="another process is loading into it; replace shard 0"):
        hooked_ingest(db, tmp_path / "new", loaded_just_before, replace=True)
    assert table.check(tmp_path / "s").is_good
    assert table.check(tmp_path / "more").is_good
    assert table.sql("SHOW TABLES").column("name").to_pylist() == ["laion", "laion_ledger"]


def test_what_a_killed_replacement_left_is_cleared(tmp_path: Path, open_table: OpenTable) -> None:
    make_shard(tmp_path / "s")
    table = open_table()
    table.ingest(tmp_path / "s")
    table.sql("CREATE TABLE laion_replacing AS laion")
    table.sql("CREATE TABLE laion_replacing_99999999_0123abcd AS laion")
    table.sql("CREATE TABLE laion_replacing_99999999_4567abcd AS laion COMMENT 'my own'")
    table.ingest(tmp_path / "s")
    names = table.sql("SHOW TABLES").column("name").to_pylist()
    assert names == [
        "laion",
        "laion_ledger",
        "laion_replacing",
        "laion_replacing_99999999_4567abcd",
    ]


def test_linked_files_are_read(tmp_path: Path, open_table: OpenTable) -> None:
    """As the Hugging Face cache keeps them."""
    made = make_shard(tmp_path / "real", 3)
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "img_emb").symlink_to(tmp_path / "real" / "img_emb")
    for kind, name in (("text_emb", "text_emb_3.npy"), ("metadata", "metadata_3.parquet")):
        (tmp_path / "links" / name).symlink_to(tmp_path / "real" / kind / name)
    table = open_table()
    table.ingest(tmp_path / "links")
    assert table.info.modalities == ("image", "text")
    check_equal(table, made)
    (tmp_path / "real" / "text_emb" / "text_emb_3.npy").unlink()
    with pytest.raises(
        ShardError, match=r"text_emb_3\.npy: named like a shard's file, but not a file"
    ):
        table.ingest(tmp_path / "links")


def test_touched_files_are_not_changed_files(tmp_path: Path, open_table: OpenTable) -> None:
    made = make_shard(tmp_path / "s")
    table = open_table()
    table.ingest(tmp_path / "s")
    copy = tmp_path / "copy"
    shutil.copytree(tmp_path / "s", copy, copy_function=shutil.copyfile)
    assert table.ingest(copy).inserted == 0
    check_equal(table, made)


def test_a_bad_vector_leaves_its_shard_out_whole(tmp_path: Path, open_table: OpenTable) -> None:
    good = make_shard(tmp_path / "s", 0)
    bad = make_shard(tmp_path / "s", 1)
    bad.image[4] = np.nan
    np.save(tmp_path / "s" / "img_emb" / "img_emb_1.npy", bad.image)
    table = open_table()
    with pytest.raises(ShardError, match=r"img_emb_1\.npy: row 4 holds NaN, infinity"):
        table.ingest(tmp_path / "s")
    check_equal(table, good)
    mended = make_shard(tmp_path / "s", 1)
    table.ingest(tmp_path / "s")
    check_equal(table, good, mended)


def test_broken_headers_stop_everything_before_the_first_row(
    tmp_path: Path, open_table: OpenTable
) -> None:
    make_shard(tmp_path / "s", 0)
    make_shard(tmp_path / "s", 1)
    np.save(tmp_path / "s" / "img_emb" / "img_emb_1.npy", np.ones((3, 8), "f2"))
    table = open_table()
    with pytest.raises(ShardError, match="shard 1 does not line up"):
        table.ingest(tmp_path / "s")
    assert not (tmp_path / "laion.chdb").exists()


def test_a_column_that_is_there_twice_is_refused_at_once(
    tmp_path: Path, open_table: OpenTable
) -> None:
    make_shard(tmp_path / "s", 0)
    make_shard(tmp_path / "s", 1)
    twice = pa.table([["a"] * 20, ["b"] * 20], names=["url", "url"])
    pq.write_table(twice, tmp_path / "s" / "metadata" / "metadata_1.parquet")
    with pytest.raises(ShardError, match=r"metadata_1\.parquet: has the column url twice"):
        open_table().ingest(tmp_path / "s")
    assert not (tmp_path / "laion.chdb").exists()


def test_shards_that_do_not_fit_are_refused(tmp_path: Path, open_table: OpenTable) -> None:
    make_shard(tmp_path / "eight", 0, dim=8)
    make_shard(tmp_path / "nine", 1, dim=9)
    make_shard(tmp_path / "image", 2, dim=8, with_text=False)
    table = open_table()
    with pytest.raises(ShardError, match=r"shards 0 and 1 differ: .* 8 against .* 9"):
        table.ingest(tmp_path / "eight", tmp_path / "nine")
    table.ingest(tmp_path / "eight")
    with pytest.raises(TableError, match="laion has vectors of dimension 8, shard 1 of 9"):
        table.ingest(tmp_path / "nine")
    with pytest.raises(TableError, match="laion holds image and text embeddings, shard 2 image"):
        table.ingest(tmp_path / "image")
    with pytest.raises(TableError, match="laion keeps float32; it cannot take bfloat16"):
        table.ingest(tmp_path / "eight", precision="bfloat16")


def test_the_model_is_kept_and_another_one_refused(tmp_path: Path, open_table: OpenTable) -> None:
    make_shard(tmp_path / "laion", 0, dim=512)
    make_shard(tmp_path / "tiny", 1, dim=512)
    (tmp_path / "tiny" / "cliphouse.json").write_text('{"model": "tiny", "dim": 512}')
    table = open_table()
    assert table.ingest(tmp_path / "laion").model == "ViT-B/32"
    with pytest.raises(TableError, match="made with model ViT-B/32, shard 1 with tiny"):
        table.ingest(tmp_path / "tiny")
    with pytest.raises(ShardError, match="were made with tiny, not with ViT-B/32"):
        open_table(model="ViT-B/32").ingest(tmp_path / "tiny")


def test_a_search_does_not_change_what_ingest_assumes(
    tmp_path: Path, open_table: OpenTable
) -> None:
    make_shard(tmp_path / "tiny", 0, dim=512)
    (tmp_path / "tiny" / "cliphouse.json").write_text('{"model": "tiny", "dim": 512}')
    make_shard(tmp_path / "unlabelled", 1, dim=512)
    table = open_table()
    table.ingest(tmp_path / "tiny")
    assert len(table.search("a red circle", k=5)) == 5
    with pytest.raises(TableError, match="made with model tiny, shard 1 with ViT-B/32"):
        table.ingest(tmp_path / "unlabelled")
    assert table.sql("SELECT count() AS rows FROM laion").to_pylist() == [{"rows": 20}]


def test_a_table_made_anew_is_searched_with_its_own_model(
    tmp_path: Path, open_table: OpenTable
) -> None:
    files = make_clip_files(tmp_path / "models")
    tiny = make_shard(tmp_path / "tiny", 0, dim=512)
    (tmp_path / "tiny" / "cliphouse.json").write_text('{"model": "tiny", "dim": 512}')
    unlabelled = make_shard(tmp_path / "unlabelled", 1, dim=512)
    table = open_table(model_dir=str(tmp_path / "models"))
    words = "a red circle"
    for shard, vector in (
        (tiny, load_encoder("tiny").encode_text([words])[0]),
        (unlabelled, files.expected_text(words)),
        (tiny, load_encoder("tiny").encode_text([words])[0]),
    ):
        table.ingest(shard.folder)
        nearest = shard.ids[np.argsort(-(shard.image.astype("f4") @ np.ravel(vector)))]
        assert [hit.id for hit in table.search(words, k=7)] == nearest[:7].tolist()
        for name in ("laion", "laion_ledger"):
            table.sql(f"DROP TABLE {name} SYNC")


def test_rows_by_other_hands_are_not_mixed_with(tmp_path: Path, open_table: OpenTable) -> None:
    """The guide's own ids run from 0, where shard 0's lie too."""
    make_shard(tmp_path / "s", 0)
    table = open_table()
    table.ingest(tmp_path / "s", shards={0})
    table.sql("TRUNCATE TABLE laion_ledger")
    with pytest.raises(TableError, match="rows with ids of shard 0 that were not loaded from"):
        table.ingest(tmp_path / "s")


def test_doubled_rows_are_noticed(tmp_path: Path, open_table: OpenTable) -> None:
    make_shard(tmp_path / "s", 0)
    table = open_table()
    table.ingest(tmp_path / "s")
    table.sql("INSERT INTO laion SELECT * FROM laion WHERE id = 3")
    unfinish(table)
    with pytest.raises(TableError, match="shard 0 has rows twice"):
        table.ingest(tmp_path / "s")


def test_a_table_made_by_the_guide_s_statement_can_be_filled(
    tmp_path: Path, open_table: OpenTable
) -> None:
    """Columns as in ClickHouse's LAION guide: no width, height or license."""
    made = make_shard(tmp_path / "s")
    table = open_table()
    table.ingest(tmp_path / "s", shards={0})
    table.sql("DROP TABLE laion")
    table.sql("DROP TABLE laion_ledger")
    table.sql(GUIDE_TABLE)
    table.ingest(tmp_path / "s")
    assert np.array_equal(stored(table, "image_embedding"), made.image.astype("f4"))
    assert table.search(made.image[5].astype("f4"), k=1)[0].id == 5


def test_progress_counts_every_row(tmp_path: Path, open_table: OpenTable) -> None:
    make_shard(tmp_path / "s", 0, rows=30)
    table = open_table()
    seen: list[tuple[int, int]] = []
    table.ingest(tmp_path / "s", progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (30, 30)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    make_shard(tmp_path / "s", 1, rows=12)
    seen.clear()
    table.ingest(tmp_path / "s", progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (42, 42)


def test_parquet_of_huge_captions_is_read_in_smaller_batches(tmp_path: Path) -> None:
    make_shard(tmp_path, rows=40, metadata={"caption": [f"{row}" * 50_000 for row in range(40)]})
    pq.ParquetFile(tmp_path / "metadata" / "metadata_0.parquet")
    opened = ShardReader.open(find_shards([str(tmp_path)])[0])
    opened = replace(opened, limits=BatchLimits(bytes=1_000_000))
    assert max(batch.num_rows for batch in opened.batches(metadata_fields(COLUMNS))) < 40


def test_an_interrupt_as_a_load_ends_does_not_stop_merges(
    tmp_path: Path, open_table: OpenTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process may go on, as a notebook's does, and a deletion waits for merges."""
    real = Connection.command
    started = []

    def interrupted(self: Connection, sql: str, *given: Any, **named: Any) -> Any:
        if sql.startswith("SYSTEM START MERGES"):
            started.append(sql)
            if len(started) == 1:
                raise KeyboardInterrupt
        return real(self, sql, *given, **named)

    monkeypatch.setattr(Connection, "command", interrupted)
    make_shard(tmp_path / "s", rows=3)
    table = open_table()
    with pytest.raises(KeyboardInterrupt):
        table.ingest(tmp_path / "s")
    table.sql("DELETE FROM laion WHERE id = 1")
    assert table.sql("SELECT id FROM laion ORDER BY id").column("id").to_pylist() == [0, 2]
