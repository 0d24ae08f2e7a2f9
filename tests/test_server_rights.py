"""What a server lets a user do: reading alone, settings that may not be changed, few privileges;
and engines that lack what newer ones have. The engine enforces the former itself (tests/standin).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

import cliphouse
from cliphouse.errors import QueryError, TableError
from cliphouse.schema.index_spec import IndexSpec
from cliphouse.search.filter import Filter
from cliphouse.search.query.parameter import encode_parameter
from cliphouse.table import Table
from shard_files import MadeShard, make_shard
from standin.pretend import Pretence
from standin.process import StandIn
from standin.users import BOUND, LOADER, OWNER, READER, SEARCHER, VISITOR, User

pytestmark = pytest.mark.usefixtures("server")

ROWS = 400
OLD = Pretence(
    version="24.3.1.2672",
    settings=(
        *("hnsw_candidate_list_size_for_search", "max_limit_for_vector_search_queries"),
        *("vector_search_with_rescoring", "vector_search_index_fetch_multiplier"),
        *("vector_search_filter_strategy", "query_plan_try_use_vector_search"),
        *("vector_search_use_quantized_codes", "enable_quantized_codec"),
    ),
    types=("BFloat16",),
    indexes=("vector_similarity",),
    codecs=("Quantized",),
    merge_settings=("materialize_skip_indexes_on_merge",),
)
LAST_YEARS = Pretence(
    version="25.8.2.29",
    settings=("vector_search_use_quantized_codes", "enable_quantized_codec"),
    codecs=("Quantized",),
)


@dataclass(frozen=True)
class Loaded:
    """A server with an indexed table in a database of its own, and what the table holds."""

    server: StandIn
    database: str
    shard: MadeShard

    def open(self, user: User) -> Table:
        return cliphouse.open(self.server.url(self.database, user))

    def distances(self, row: int, metric: str = "cosine") -> NDArray[np.float64]:
        """From every picture to that of a row, computed here."""
        vectors = self.shard.image.astype("f8")
        query = vectors[row]
        if metric == "l2":
            return np.linalg.norm(vectors - query, axis=1)
        lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(query)
        return 1 - vectors @ query / lengths

    def nearest(self, row: int, k: int, metric: str = "cosine") -> list[int]:
        return [int(i) for i in np.argsort(self.distances(row, metric), kind="stable")[:k]]


@pytest.fixture(scope="module")
def loaded(stand_in: StandIn, tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    folder = tmp_path_factory.mktemp("rights")
    shard = make_shard(folder / "shards", rows=ROWS, dim=16)
    made = Loaded(stand_in, stand_in.fresh(), shard)
    with made.open(OWNER) as table:
        table.ingest(folder / "shards")
        table.index(IndexSpec())
        table.sql("CREATE DATABASE IF NOT EXISTS granted")
    return made


def explained(table: Table, sql: str, vector: NDArray[np.float32]) -> str:
    """How the engine answers a search's statement."""
    given = {"target": encode_parameter(vector, "float32")}
    rows = table.sql(f"EXPLAIN indexes = 1 {sql}", given).to_pylist()
    return "\n".join(row["explain"] for row in rows)


@pytest.mark.parametrize("user", [READER, SEARCHER, BOUND], ids=lambda user: user.name)
def test_who_may_only_read_can_search(loaded: Loaded, user: User) -> None:
    with loaded.open(user) as table:
        for mode in ("auto", "exact"):
            hits = table.search("id:7", 10, mode=mode)
            assert [hit.id for hit in hits] == loaded.nearest(7, 10)
        by_length = table.search("id:7", 10, metric="l2")
        assert [hit.id for hit in by_length] == loaded.nearest(7, 10, "l2")
        np.testing.assert_allclose(
            [hit.distance for hit in hits], np.sort(loaded.distances(7))[:10], atol=1e-5
        )
        some = [i for i in loaded.nearest(7, ROWS) if i < 100][:5]
        assert [hit.id for hit in table.search("id:7", 5, where="id < 100")] == some
        wide = [i for i in loaded.nearest(7, ROWS) if 100 + i <= 150][:5]
        assert [hit.id for hit in table.search("id:7", 5, filter=Filter(max_width=150))] == wide
        second = table.search("id:7", 5, cursor=table.search("id:7", 5).cursor)
        assert [hit.id for hit in second] == loaded.nearest(7, 10)[5:]
        assert table.items([3])[0]["caption"] == "picture 3 of shard 0"
        given = {"least": "395"}
        counted = table.sql("SELECT count() AS n FROM laion WHERE id > {least:Int64}", given)
        assert counted.to_pylist() == [{"n": 4}]
        assert table.check().is_good


@pytest.mark.parametrize("user", [READER, BOUND], ids=lambda user: user.name)
def test_exact_is_exact_where_the_index_may_not_be_forbidden(loaded: Loaded, user: User) -> None:
    """The engine's own plan tells: a second sort key keeps it from the index."""
    vector = loaded.shard.image[7].astype("f4")
    with loaded.open(user) as table:
        exact = table.search(vector, 10, mode="exact")
        assert "query_plan_try_use_vector_search" not in exact.sql
        assert "vector_similarity" not in explained(table, exact.sql, vector)
        graph = table.search(vector, 10, mode="hnsw")
        # Of a statement in two stages the plan shows the outer one alone.
        inner = re.search(r"IN \(\n(.*)\n\)", graph.sql, re.DOTALL)
        stage = inner[1] if inner else graph.sql
        assert "vector_similarity" in explained(table, stage, vector)


@pytest.mark.parametrize("user", [READER, BOUND], ids=lambda user: user.name)
def test_a_width_that_may_not_be_chosen_is_told(loaded: Loaded, user: User) -> None:
    with loaded.open(user) as table:
        found = table.search("id:7", 10, mode="hnsw")
        assert found.stats.width == 256  # the engine's own
        assert found.stats.recall is None
        # 256 candidates of 400 rows miss none of ten.
        assert [hit.id for hit in found] == loaded.nearest(7, 10)
        np.testing.assert_allclose(
            [hit.distance for hit in found], np.sort(loaded.distances(7))[:10], atol=1e-5
        )
        with pytest.raises(QueryError, match="width 64; it is 256 there"):
            table.search("id:7", 10, mode="hnsw", ef=64)
        with pytest.raises(QueryError, match="ask for fewer rows"):
            table.search("id:7", 300, mode="hnsw")
        filtered = table.search("id:7", 5, mode="hnsw", where="id < 40")
        assert filtered.stats.mode == "exact"
        assert "does not let this user" in filtered.stats.reason
        assert len(filtered) == 5


def test_auto_takes_the_width_there_is_only_where_it_is_measured(loaded: Loaded) -> None:
    with loaded.open(OWNER) as table:
        table.recall(queries=30, save=True)
        figures = table.info.measured
    assert {entry.mode for entry in figures} == {"exact", "hnsw"}
    with loaded.open(READER) as table:
        searched = table.search("id:7")
        widths = [entry.width for entry in figures if entry.mode == "hnsw"]
        assert 256 not in widths  # narrower ones were good enough
        assert searched.stats.mode == "exact"
        assert "width 256 alone" in searched.stats.reason
        measured = table.recall(queries=30)
    assert {entry.width for entry in measured if entry.mode == "hnsw"} == {256}


def test_a_reader_is_told_what_is_forbidden(loaded: Loaded) -> None:
    with loaded.open(READER) as table:
        assert "hnsw_candidate_list_size_for_search" in table.summary().forbidden
        with pytest.raises(TableError, match="user reader may not change the setting max_threads"):
            table.sql("SELECT 1 SETTINGS max_threads = 1")
        with pytest.raises(TableError, match=r"user reader (lacks a privilege|may only read)"):
            table.ingest(loaded.shard.folder)
        with pytest.raises(TableError, match=r"user reader (lacks a privilege|may only read)"):
            table.drop_index()
        done: list[float] = []
        with pytest.raises(TableError, match=r"user reader (lacks a privilege|may only read)"):
            table.recall(queries=30, save=True, progress=lambda part, _: done.append(part))
        assert done == []  # it is found out before minutes are spent
    with loaded.open(SEARCHER) as table:
        assert table.summary().forbidden == ()
    with loaded.open(BOUND) as table:
        assert table.summary().forbidden == (
            *("hnsw_candidate_list_size_for_search", "query_plan_try_use_vector_search"),
        )


@pytest.mark.parametrize("user", [READER, SEARCHER], ids=lambda user: user.name)
def test_exports_of_who_may_only_read(loaded: Loaded, user: User, tmp_path: Path) -> None:
    """Bytes that are no UTF-8 are replaced in JSON, whoever asks."""
    server = loaded.server
    database = server.fresh()
    captions = [b"caf\xe9 \xff", "ü".encode(), b""]
    make_shard(tmp_path / "s", rows=3, metadata={"caption": captions})
    with cliphouse.open(server.url(database)) as table:
        table.ingest(tmp_path / "s")
    with cliphouse.open(server.url(database, user)) as table:
        table.export(tmp_path / "out.jsonl", "jsonl")
        table.export(tmp_path / "out.parquet", "parquet")
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text("utf-8").splitlines()]
    assert [line["caption"] for line in lines] == [c.decode("utf-8", "replace") for c in captions]
    written = pq.read_table(tmp_path / "out.parquet").column("caption").cast(pa.binary())
    assert written.to_pylist() == captions


def test_the_least_privileges_suffice(loaded: Loaded, tmp_path: Path) -> None:
    """One user loads, indexes and replaces with the privileges that docs/servers.md lists, another
    reads with SELECT alone."""
    make_shard(tmp_path, rows=60)
    url = loaded.server.url("granted", LOADER)
    with cliphouse.open(url) as table:
        table.ingest(tmp_path)
        table.index(IndexSpec(), measure=True)
        make_shard(tmp_path, rows=60, seed=9)
        assert table.ingest(tmp_path, replace=True).inserted == 60
        assert table.check(tmp_path).is_good
        with pytest.raises(TableError, match="lacks a privilege"):
            table.sql("CREATE DATABASE another")
    with cliphouse.open(loaded.server.url("granted", VISITOR)) as table:
        assert len(table.search("id:7", 10)) == 10
        assert table.summary().rows == 60
        assert table.statistics().rows == 60
        with pytest.raises(TableError, match="lacks a privilege"):
            table.sql(f"SELECT count() FROM {loaded.database}.laion")
    with cliphouse.open(url) as table:
        for name in ("laion", "laion_ledger"):
            table.sql(f"DROP TABLE {name} SYNC")


def test_an_old_server_is_searched_exactly(loaded: Loaded, tmp_path: Path) -> None:
    loaded.server.pretend(OLD)
    with loaded.open(OWNER) as table:
        for mode in ("auto", "exact"):
            hits = table.search("id:7", 10, mode=mode)
            assert [hit.id for hit in hits] == loaded.nearest(7, 10)
        summary = table.summary()
        assert summary.engine == "24.3.1.2672"
        assert re.search("vector_similarity.*codes.*BFloat16", " ".join(summary.lacking))
        with pytest.raises(TableError, match=r"ClickHouse 24.3.1.2672, which has no index"):
            table.index()
        with pytest.raises(TableError, match=r"ClickHouse 24.3.1.2672.* 25.1 or later"):
            table.ingest(loaded.shard.folder)


def test_a_server_of_last_year_lacks_codes_alone(loaded: Loaded, tmp_path: Path) -> None:
    loaded.server.pretend(LAST_YEARS)
    make_shard(tmp_path, rows=30)
    url = loaded.server.fresh_url()
    loaded.server.pretend(LAST_YEARS)
    with cliphouse.open(url) as table:
        with pytest.raises(TableError, match=r"25.8.2.29, which has no quantized codes"):
            table.ingest(tmp_path, codes="rabitq")
        table.ingest(tmp_path, precision="bfloat16")
        table.index(IndexSpec())
        assert table.search("id:7", 5, mode="hnsw")[0].id == 7
        assert table.summary().lacking == ("quantized codes (26.7 and later)",)
