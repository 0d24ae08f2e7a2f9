"""One suite for tables, on the embedded engine and on a server: whoever outgrows the one changes
the address and nothing else. NumPy and the files say what is right.

The server is the stand-in of tests/standin; each test has a database of its own.
"""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

import cliphouse
from cliphouse.errors import QueryError, TableError
from cliphouse.schema.index_spec import IndexSpec
from cliphouse.search.filter import Filter
from cliphouse.table import Table
from shard_files import MadeShard, make_shard
from standin.process import StandIn

ROWS, DIM = 240, 16
Places = Callable[[], str]


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> tuple[MadeShard, MadeShard]:
    folder = tmp_path_factory.mktemp("everywhere") / "shards"
    return make_shard(folder, 0, rows=ROWS, dim=DIM), make_shard(folder, 3, rows=ROWS // 2, dim=DIM)


@pytest.fixture(params=["embedded", "server"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty database."""
    if request.param == "embedded":
        return str(tmp_path / "db")
    return str(request.getfixturevalue("url"))


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory, shards: tuple[MadeShard, MadeShard]) -> Path:
    """An embedded database of the shards, to be copied."""
    folder = tmp_path_factory.mktemp("loaded") / "db"
    with cliphouse.open(folder) as table:
        table.ingest(shards[0].folder)
    return folder


@pytest.fixture(scope="module")
def loaded_url(stand_in: StandIn, shards: tuple[MadeShard, MadeShard]) -> str:
    """A database of the shards on a server, which no test changes."""
    url = stand_in.fresh_url()
    with cliphouse.open(url) as table:
        table.ingest(shards[0].folder)
    return url


@pytest.fixture
def table(place: str, loaded: Path, request: pytest.FixtureRequest) -> Iterator[Table]:
    """A table of the shards, for tests that leave it as it is."""
    if "://" in place:
        place = str(request.getfixturevalue("loaded_url"))
    else:
        shutil.copytree(loaded, place, symlinks=True)
    with cliphouse.open(place) as opened:
        yield opened


@pytest.fixture
def own_table(place: str, loaded: Path, shards: tuple[MadeShard, MadeShard]) -> Iterator[Table]:
    """A table of the shards, for a test that changes it."""
    if "://" not in place:
        shutil.copytree(loaded, place, symlinks=True)
    with cliphouse.open(place) as opened:
        if "://" in place:
            opened.ingest(shards[0].folder)
        yield opened


def vectors(shards: tuple[MadeShard, ...], modality: str = "image") -> NDArray[np.float64]:
    return np.concatenate([getattr(shard, modality) for shard in shards]).astype("f8")


def ids(shards: tuple[MadeShard, ...]) -> NDArray[np.int64]:
    return np.concatenate([shard.ids for shard in shards])


def distances(
    query: NDArray[np.float64], rows: NDArray[np.float64], metric: str = "cosine"
) -> NDArray[np.float64]:
    if metric == "l2":
        return np.linalg.norm(rows - query, axis=1)
    return 1 - rows @ query / (np.linalg.norm(rows, axis=1) * np.linalg.norm(query))


def nearest(
    query: NDArray[np.float64],
    shards: tuple[MadeShard, ...],
    k: int,
    modality: str = "image",
    metric: str = "cosine",
) -> list[int]:
    order = np.argsort(distances(query, vectors(shards, modality), metric), kind="stable")
    return [int(i) for i in ids(shards)[order[:k]]]


def test_what_was_loaded_is_what_the_files_hold(
    table: Table, shards: tuple[MadeShard, MadeShard]
) -> None:
    rows = table.sql("SELECT * FROM laion ORDER BY id")
    assert rows.column("id").to_pylist() == ids(shards).tolist()
    for name in ("url", "caption", "NSFW", "width", "height"):
        assert rows.column(name).to_pylist() == [v for s in shards for v in s.metadata[name]]
    for modality in ("image", "text"):
        stored = np.array(rows.column(f"{modality}_embedding").to_pylist())
        np.testing.assert_array_equal(stored, vectors(shards, modality))
    again = table.ingest(shards[0].folder)
    assert (again.inserted, again.rows) == (0, len(ids(shards)))
    assert table.check(shards[0].folder).findings == ()


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_exact_search_is_numpys(
    table: Table, shards: tuple[MadeShard, MadeShard], metric: str
) -> None:
    for modality in ("image", "text"):
        query = vectors(shards, "text")[5]
        found = table.search(query, 12, modality, metric=metric, mode="exact")  # type: ignore[arg-type]
        assert [hit.id for hit in found] == nearest(query, shards, 12, modality, metric)
        expected = np.sort(distances(query, vectors(shards, modality), metric))[:12]
        np.testing.assert_allclose([hit.distance for hit in found], expected, atol=1e-5)


def test_filters_pages_and_near_duplicates(
    table: Table, shards: tuple[MadeShard, MadeShard]
) -> None:
    query = vectors(shards)[7]
    ranked = nearest(query, shards, len(ids(shards)))
    of_third = [i for i in ranked if i >> 32 == 3]
    found = table.search("id:7", 10, where="bitShiftRight(id, 32) = 3")
    assert [hit.id for hit in found] == of_third[:10]
    found = table.search("id:7", 10, filter=Filter(shards=(3,), caption_contains="PICTURE 1"))
    wanted = [i for i in of_third if str(i & 0xFFFFFFFF).startswith("1")]
    assert [hit.id for hit in found] == wanted[:10]
    first = table.search("id:7", 8)
    second = table.search("id:7", 8, cursor=first.cursor)
    assert [hit.id for hit in (*first, *second)] == ranked[:16]
    assert [hit.id for hit in table.search("id:7", 4, offset=6)] == ranked[6:10]
    everything = table.search("id:7", 50, dedup=1.0)
    assert len(everything) == 50  # no two rows are the same here


def test_sums_of_rows_and_vectors(
    table: Table, shards: tuple[MadeShard, MadeShard], tmp_path: Path
) -> None:
    rows = vectors(shards)
    units = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    query = 2 * units[3] + units[4] - units[5]
    np.save(tmp_path / "vector.npy", rows[4].astype("f4"))
    found = table.search("2:id:3", 10, add=[str(tmp_path / "vector.npy")], subtract=["id:5"])
    assert [hit.id for hit in found] == nearest(query, shards, 10)


def test_the_index_finds_what_is_near(
    own_table: Table, shards: tuple[MadeShard, MadeShard]
) -> None:
    built = own_table.index(IndexSpec())
    assert built.rows == len(ids(shards))
    assert own_table.index(IndexSpec()).seconds == 0
    query = vectors(shards)[7]
    found = own_table.search("id:7", 10, mode="hnsw", ef=360)
    assert [hit.id for hit in found] == nearest(query, shards, 10)
    expected = np.sort(distances(query, vectors(shards)))[:10]
    np.testing.assert_allclose([hit.distance for hit in found], expected, atol=1e-5)
    few = own_table.search("id:7", 5, mode="hnsw", ef=360, where="bitShiftRight(id, 32) = 3")
    assert [hit.id for hit in few] == [
        i for i in nearest(query, shards, len(ids(shards))) if i >> 32 == 3
    ][:5]
    assert [index.name for index in own_table.summary().indexes] == ["image_index"]
    assert own_table.drop_index()
    with pytest.raises(QueryError, match="build it with"):
        own_table.search("id:7", mode="hnsw")


def test_recall_is_what_counting_says(
    own_table: Table, shards: tuple[MadeShard, MadeShard]
) -> None:
    """A graph of bits misses much; its measured recall is compared with one counted here."""
    own_table.index(IndexSpec(quantization="b1", m=4, ef_construction=8))
    measured = own_table.recall(k=5, queries=20)
    hnsw = [e for e in measured if e.mode == "hnsw" and e.query == "text" and e.width == 64]
    shares = []
    for row in range(0, len(ids(shards)), 6):
        query = vectors(shards, "text")[row]
        own = int(ids(shards)[row])
        truth = [i for i in nearest(query, shards, 6) if i != own][:5]
        found = own_table.search(query, 6, mode="hnsw", ef=64)
        shares.append(len(set(truth) & {hit.id for hit in found if hit.id != own}) / 5)
    assert hnsw[0].recall == pytest.approx(float(np.mean(shares)), abs=0.2)


@pytest.mark.parametrize("codes", ["rabitq", "turboquant"])
def test_codes(place: str, shards: tuple[MadeShard, MadeShard], codes: str) -> None:
    with cliphouse.open(place) as table:
        table.ingest(shards[0].folder, codes=codes)  # type: ignore[arg-type]
        query = vectors(shards)[7]
        found = table.search("id:7", 10, mode="codes", oversampling=36)
        assert [hit.id for hit in found] == nearest(query, shards, 10)
        assert found.stats.mode == "codes"


def test_bfloat16_is_rounded_to_nearest(place: str, shards: tuple[MadeShard, MadeShard]) -> None:
    with cliphouse.open(place) as table:
        table.ingest(shards[0].folder, precision="bfloat16")
        rows = table.sql(
            "SELECT CAST(image_embedding, 'Array(Float32)') AS v FROM laion ORDER BY id"
        )
    stored = np.array(rows.column("v").to_pylist(), "f4")
    exact = vectors(shards).astype("f4")
    # Of numbers with 8 significant bits, the nearest is no farther than 2^-8; cut off, it could be
    # twice that.
    assert np.all(np.abs(stored - exact) <= np.abs(exact) * 2.0**-8)
    assert not np.any(stored.view("u4") & 0xFFFF)


def test_changed_shards_are_refused_then_replaced(place: str, tmp_path: Path) -> None:
    make_shard(tmp_path / "s", rows=30)
    with cliphouse.open(place) as table:
        table.ingest(tmp_path / "s")
        changed = make_shard(tmp_path / "s", rows=40, seed=8)
        with pytest.raises(TableError, match="have changed since"):
            table.ingest(tmp_path / "s")
        assert table.ingest(tmp_path / "s", replace=True).inserted == 40
        rows = table.sql("SELECT image_embedding AS v FROM laion ORDER BY id")
        stored = np.array(rows.column("v").to_pylist())
        np.testing.assert_array_equal(stored, changed.image.astype("f4"))
        assert table.check(tmp_path / "s").is_good


def test_deleted_rows_are_noticed_and_come_back(
    own_table: Table, shards: tuple[MadeShard, MadeShard]
) -> None:
    own_table.sql("DELETE FROM laion WHERE id IN (3, 4)")
    assert any("deleted" in finding.what for finding in own_table.check().findings)
    query = vectors(shards)[7]
    left = [i for i in nearest(query, shards, 12) if i not in (3, 4)][:10]
    assert [hit.id for hit in own_table.search("id:7", 10)] == left
    assert own_table.ingest(shards[0].folder).inserted == 0
    assert own_table.ingest(shards[0].folder, replace=True).inserted == 2
    assert own_table.check(shards[0].folder).findings == ()


def test_exports_hold_what_the_table_holds(
    table: Table, shards: tuple[MadeShard, MadeShard], tmp_path: Path
) -> None:
    table.export(tmp_path / "all.parquet", "parquet")
    written = pq.read_table(tmp_path / "all.parquet")
    assert written.column("id").to_pylist() == ids(shards).tolist()
    np.testing.assert_array_equal(
        np.array(written.column("image_embedding").to_pylist()), vectors(shards)
    )
    table.export(tmp_path / "few.jsonl", "jsonl", where="id < 3")
    lines = [json.loads(line) for line in (tmp_path / "few.jsonl").read_text().splitlines()]
    assert [line["caption"] for line in lines] == shards[0].metadata["caption"][:3]
    table.export(tmp_path / "csv", "csv")
    with (tmp_path / "csv" / "3.csv").open(newline="") as stream:
        rows = list(csv.reader(stream))
    assert [row[2] for row in rows] == shards[1].metadata["caption"]
    table.export(tmp_path / "out", "shards")
    for shard in shards:
        copied = np.load(tmp_path / "out" / "img_emb" / f"img_emb_{shard.number}.npy")
        np.testing.assert_array_equal(copied, shard.image)


def test_sql_with_parameters_and_settings(table: Table, tmp_path: Path) -> None:
    text = 'it\'s "q"\t\n\\ 🐈 {x}'
    assert table.sql("SELECT {t:String} AS t", {"t": text}).to_pylist() == [{"t": text}]
    table.sql("SET max_block_size = 17")
    found = table.sql("SELECT getSetting('max_block_size') AS n").to_pylist()
    assert found == [{"n": 17}]
    counted = table.run("SELECT count() FROM laion FORMAT TSV")
    assert counted.written == f"{ROWS + ROWS // 2}\n".encode()
    vector = [1.0] + [0.0] * (DIM - 1)
    nearest_one = table.sql(
        "SELECT id FROM laion ORDER BY cosineDistance(image_embedding, {v:Array(Float32)}) LIMIT 1",
        {"v": vector},
    )
    assert nearest_one.num_rows == 1
    with pytest.raises(QueryError, match="nope"):
        table.sql("SELECT nope")
    with pytest.raises(TableError, match="nothing_here"):
        table.sql("SELECT * FROM nothing_here")


def test_text_arrives_as_it_is(place: str, tmp_path: Path) -> None:
    captions = ['it\'s "q"\t\n\\', "🐈", "x" * 50_000, ""]
    make_shard(tmp_path / "s", rows=4, metadata={"caption": captions})
    with cliphouse.open(place) as table:
        table.ingest(tmp_path / "s")
        assert [row["caption"] for row in table.items([0, 1, 2, 3])] == captions
        assert table.search("id:0", 1)[0].caption == captions[0]


def test_what_the_rows_are_like(table: Table, shards: tuple[MadeShard, MadeShard]) -> None:
    figures = table.statistics()
    assert figures.rows == len(ids(shards))
    widths = np.array([w for shard in shards for w in shard.metadata["width"]])
    for bin_ in figures.width:
        assert bin_.rows == int(np.sum((widths >= bin_.low) & (widths < bin_.high)))
    summary = table.summary()
    assert (summary.rows, summary.shards, summary.dim) == (len(ids(shards)), 2, DIM)
    assert summary.unfinished == ()
    assert summary.engine.startswith("26.")
