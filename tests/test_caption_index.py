"""The indexes of captions: filters find the same rows with it, and read few of the others."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cliphouse.errors import TableError
from cliphouse.indexing.build import existing_indexes
from cliphouse.schema.index_spec import IndexSpec
from cliphouse.search.filter import Filter
from cliphouse.table import Table
from conftest import OpenTable, Run
from shard_files import make_shard
from thorough import examples

ROWS = 6000
_ODD = ("İstanbul", "straße", "STRASSE", "Σίσυφος", "ΌΣΟΣ", "東京 タワー", "Müller", "ﬀ Kelvin K")
_LETTERS = "aAbkKiİıßẞΣσςéÉ東京 %_\\'\""


def _captions() -> list[bytes]:
    """Words of which some are in nearly all captions and most in one; some are no UTF-8."""
    words = [f"word{number:04x}" for number in range(ROWS)]
    made = [f"A Photo of {words[row]} by {_ODD[row % len(_ODD)]}".encode() for row in range(ROWS)]
    made[7], made[8] = b"100% \\pure_wool\\ '\xff\xe3", b"\xe3pure"
    return made


CAPTIONS = _captions()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with an index of captions, in one part."""
    folder = tmp_path_factory.mktemp("captions")
    metadata = {"caption": pa.array(CAPTIONS, pa.binary())}
    made = make_shard(folder / "s", rows=ROWS, dim=4, metadata=metadata)
    with Table(folder / "laion.chdb") as loaded:
        loaded.ingest(made.folder)
        assert loaded.index_captions().rows == ROWS
    return folder


@pytest.fixture
def table(folder: Path, tmp_path: Path, open_table: OpenTable) -> Table:
    """A copy of it."""
    shutil.copytree(folder / "laion.chdb", tmp_path / "laion.chdb", symlinks=True)
    return open_table()


def found(table: Table, part: str, has_text_index: bool = True) -> list[int]:
    condition = Filter(caption_contains=part).condition(None, has_text_index)
    sql = f"SELECT id FROM {table.name} WHERE {condition.sql} ORDER BY id"
    return list(table.connection.query(sql, condition.parameters).column("id").to_pylist())


def read_share(table: Table, condition: str, values: dict[str, str]) -> float:
    """The share of the granules that the engine reads for a condition."""
    sql = f"EXPLAIN indexes = 1 SELECT id FROM {table.name} WHERE {condition}"
    lines = "\n".join(table.connection.query(sql, values).column(0).to_pylist())
    *_, (read, of) = re.findall(r"Granules: (\d+)/(\d+)", lines)
    return int(read) / int(of)


def share_of(table: Table, part: str, has_text_index: bool = True) -> float:
    condition = Filter(caption_contains=part).condition(None, has_text_index)
    return read_share(table, condition.sql, dict(condition.parameters))


def typed(table: Table, part: str, with_indexes: int) -> list[int]:
    """The rows that a condition as users type it finds, with the indexes or without."""
    sql = f"SELECT id FROM {table.name} WHERE caption ILIKE {{part:String}} ORDER BY id "
    sql += f"SETTINGS use_skip_indexes = {with_indexes}, use_query_condition_cache = 0"
    return list(table.connection.query(sql, {"part": f"%{part}%"}).column("id").to_pylist())


def by_position(table: Table, part: str) -> list[int]:
    """The rows that the engine finds without an index."""
    sql = f"SELECT id FROM {table.name} WHERE positionCaseInsensitiveUTF8(caption, {{part:String}})"
    sql += " > 0 ORDER BY id SETTINGS use_skip_indexes = 0, use_query_condition_cache = 0"
    return list(table.connection.query(sql, {"part": part}).column("id").to_pylist())


def test_rare_parts_are_found_by_reading_few_granules(table: Table) -> None:
    rare = "WORD0fA"
    wanted = [row for row, text in enumerate(CAPTIONS) if rare.lower().encode() in text.lower()]
    assert found(table, rare) == wanted
    assert len(wanted) == 16
    for has_text_index in (True, False):
        assert share_of(table, rare, has_text_index) < 0.1
    assert share_of(table, "nothing like it") == 0
    assert share_of(table, "photo") == 1  # it is everywhere
    assert share_of(table, "wor") == 1  # too short for the index
    for served in ("lowerUTF8(caption) LIKE '%word0fa%'", "caption ILIKE '%WORD0fa%'"):
        assert read_share(table, served, {}) < 0.1
    assert read_share(table, "hasToken(caption, 'word00fa')", {}) < 0.1
    assert read_share(table, "lower(caption) LIKE '%word0fa%'", {}) == 1
    hits = table.search("id:0", k=100, filter=Filter(caption_contains=rare), mode="exact")
    assert sorted(hit.id for hit in hits) == wanted
    assert share_of(table, "TOKYO") == 0  # a word of which an index of words knows no other case
    assert share_of(table, "東京 タワー") == 1  # of every eighth row


@settings(max_examples=examples(4, 12), deadline=None, suppress_health_check=list(HealthCheck))
@given(
    parts=st.lists(
        st.one_of(
            st.text(_LETTERS, min_size=1, max_size=5),
            st.sampled_from(_ODD).map(str.upper),
            st.sampled_from(_ODD).map(str.lower),
            st.tuples(st.sampled_from(_ODD), st.integers(0, 6), st.integers(1, 6)).map(
                lambda cut: cut[0][cut[1] : cut[1] + cut[2]] or "x"
            ),
            st.sampled_from(["100% \\", "e_wool\\", "%", "_", "\\", "pure", "PURE_W", "word00_1"]),
            st.sampled_from(
                ["kelvin", "KELVIN", "elvi", "istanbul", "strasse", "ord00", "ISYPHOS"]
            ),
        ),
        min_size=12,
        max_size=12,
    )
)
def test_the_index_changes_no_answer(table: Table, parts: Sequence[str]) -> None:
    for part in parts:
        for has_text_index in (True, False):
            assert found(table, part, has_text_index) == by_position(table, part), part
        assert typed(table, part, 1) == typed(table, part, 0), part


def test_it_lasts_and_leaves_the_vector_index_alone(
    table: Table, folder: Path, tmp_path: Path
) -> None:
    """Beside a graph, after a load, a second build, and a drop."""
    quick = IndexSpec("image", m=4, ef_construction=16)
    table.index(quick)
    assert share_of(table, "word00fa") < 0.1  # what the merge had removed is built again
    graphs = "SELECT name, data_compressed_bytes > 0 AS is_built FROM system.data_skipping_indices"
    built = {row["name"]: row["is_built"] for row in table.connection.query(graphs).to_pylist()}
    assert built == {"caption_index": 1, "caption_words": 1, "image_index": 1}
    assert read_share(table, "caption ILIKE '%word00fa%'", {}) < 0.1
    assert table.index_captions().seconds == 0
    table.ingest(make_shard(tmp_path / "more", 1, rows=500, dim=4).folder)
    assert table.index_captions().seconds > 0
    assert share_of(table, "word00fa") < 0.1
    summary = table.summary()
    assert 0 < summary.caption_index_bytes < 50 * summary.rows
    assert [index.name for index in summary.indexes] == ["image_index"]
    table.index(quick)
    assert table.index(quick).seconds == 0
    assert table.drop_index("captions")
    assert not table.drop_index("captions")
    assert list(existing_indexes(table.handle)) == ["image_index"]
    assert share_of(table, "word00fa") == 1
    assert found(table, "word00fa") == [0xFA]
    assert table.summary().caption_index_bytes == 0
    nearest = table.search(np.ones(4, np.float32), k=5, mode="hnsw", ef=100)
    assert len(nearest) == 5


def test_tables_without_captions_are_refused(tmp_path: Path, open_table: OpenTable) -> None:
    table = open_table(tmp_path / "other.chdb")
    table.ingest(make_shard(tmp_path / "s", rows=10, dim=4).folder)
    table.connection.command("ALTER TABLE laion DELETE WHERE 1 SETTINGS mutations_sync = 2")
    with pytest.raises(TableError, match="table laion is empty"):
        table.index_captions()
    table.connection.command("ALTER TABLE laion DROP COLUMN caption")
    table.refresh()
    with pytest.raises(TableError, match="table laion has no column caption of text to index"):
        table.index_captions()


def test_on_the_command_line(folder: Path, tmp_path: Path, run: Run) -> None:
    shutil.copytree(folder / "laion.chdb", tmp_path / "laion.chdb", symlinks=True)
    assert run("index", "captions").stdout == "captions: the indexes exist already\n"
    assert re.search(r"indexes of captions +[\d.]+ kB", run("info").stdout)
    assert run("index", "captions", "--drop").stdout == "captions: dropped\n"
    told = run("index", "captions").stdout
    assert re.fullmatch(r"captions: 6,000 rows indexed in .+ s, [\d.]+ kB\n", told)
