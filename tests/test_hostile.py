"""Input that is made to do harm: conditions that try to change the rest of a statement, and headers
of .npy files that say anything."""

from __future__ import annotations

import contextlib
import io
import json
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cliphouse import Filter, Table
from cliphouse.errors import CliphouseError, ShardError
from cliphouse.shards.files import DataFile
from cliphouse.shards.npy import NpyFile
from shard_files import MadeShard, make_shard
from thorough import examples

ROWS, LEAST, K = 40, 120, 5  # half of the rows are LEAST pixels wide or wider
MANY = 16 * 2**20  # bytes

_PIECES = [
    *("1", "0", "id = 3", "width < 110", "caption LIKE '%1%'", "NOT ", " OR ", " AND ", " = "),
    *("(", ")", ") OR (1", ") OR 1 = 1 -- ", "'", '"', "`", "\\", "''", "$$", "\0", "\n", ";"),
    *("--", "-- )\n", "#", "/*", "*/", "/* ) */", " UNION ALL SELECT 1", " FORMAT Null", ","),
    *(" SETTINGS max_result_rows = 1", " INTO OUTFILE 'stolen'", " LIMIT 1", " ORDER BY id"),
    *("id IN (SELECT id FROM laion)", "(SELECT max(id) FROM laion) > 0", "EXISTS (SELECT 1)"),
    *(" AS x", "query_distance < 9", "score > -2", "{target:String} != ''", "{x:Int8}"),
    *("; DROP TABLE laion", "; TRUNCATE TABLE laion", " GROUP BY id", " WITH TOTALS"),
]


@dataclass(frozen=True)
class World:
    table: Table
    made: MadeShard
    folder: Path

    @property
    def content(self) -> list[dict[str, Any]]:
        asked = "SELECT count() AS rows, sum(cityHash64(*)) AS sum FROM laion"
        return list(self.table.sql(asked).to_pylist())


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("hostile")
    made = make_shard(folder / "s", rows=ROWS)
    with Table(folder / "db") as table:
        table.ingest(made.folder)
        table.index()
        yield World(table, made, folder)


def passing(world: World, where: str) -> list[int] | None:
    """The ids that meet a condition and are wide enough, the nearest to row 0 first; None if the
    engine does not take it alone in a statement."""
    sql = f"SELECT id FROM laion WHERE width >= {LEAST} AND ({where}\n)"
    try:
        ids = world.table.sql(sql).column("id").to_pylist()
    except (CliphouseError, KeyError):
        return None
    rows = world.made.image.astype("f8")
    nearness = rows @ rows[0] / np.linalg.norm(rows, axis=1)
    return sorted(ids, key=lambda row: -nearness[row])


@settings(
    max_examples=examples(8, 25),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(st.sampled_from(_PIECES), min_size=1, max_size=8).map("".join))
@example("1) OR (1")
@example("1)) OR ((1")
@example("1\n) OR 1 = 1 -- (")
@example("1 /* ) */) OR (1 /* ( */")
@example("0 UNION ALL SELECT * FROM laion")
@example("1; DROP TABLE laion")
@example("1 INTO OUTFILE 'stolen'")
@example("id IN (SELECT id FROM laion) OR 1")
@example("1 SETTINGS max_result_rows = 1")
def test_a_condition_changes_nothing_else_that_is_asked(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """Whatever it is, rows that do not pass the filter beside it are not found, nor exported, and
    the table stays as it is."""
    monkeypatch.chdir(tmp_path)
    before = world.content
    for mode in ("exact", "hnsw"):
        with contextlib.suppress(CliphouseError):
            found = world.table.search(
                "id:0", K, where=where, mode=mode, filter=Filter(min_width=LEAST), fields="width"
            )
            assert len(found) <= K
            assert all(hit.values == {"width": 100 + hit.id} for hit in found)
            assert all(hit.width >= LEAST for hit in found)
            expected = passing(world, where) if mode == "exact" else None
            if expected is not None and not {"score", "query_distance"} & set(where.split()):
                assert [hit.id for hit in found] == expected[:K]
    chosen = list(range(0, ROWS, 3))
    with contextlib.suppress(CliphouseError):
        world.table.export(tmp_path / "out.jsonl", "jsonl", where=where, ids=chosen)
        lines = (tmp_path / "out.jsonl").read_text().splitlines()
        assert {json.loads(line)["id"] for line in lines} <= set(chosen)
        (tmp_path / "out.jsonl").unlink()
    assert not list(tmp_path.iterdir())
    assert world.content == before


def written(path: Path, header: str, version: bytes, size: int) -> DataFile:
    """A .npy file with this header, whatever it says, and ``size`` bytes after it."""
    text = header.encode("latin1", "replace")
    length = len(text).to_bytes(2 if version == b"\1\0" else 4, "little")
    data = np.random.default_rng(size).integers(0, 256, size, np.uint8).tobytes()
    path.write_bytes(b"\x93NUMPY" + version + length + text + data)
    files = fsspec.filesystem("file")
    return DataFile(files, str(path), path.stat().st_size, "")


_NUMBERS = st.integers(-6, 12) | st.sampled_from([0, 2**31, 2**63, -(2**63), 2**80, True, 1.5, "3"])
_SHAPES = st.tuples(_NUMBERS, _NUMBERS) | st.lists(_NUMBERS, max_size=4).map(tuple) | _NUMBERS
_DTYPES = st.sampled_from(
    ["<f2", "<f4", "<f4", "<f2", ">f4", "<f8", "|O", "<U3", "<i4", "|V4", "f4", "<M8[s]", "", 7,
     [("a", "<f2")], [("a", "<f4", (2,))], None, ("<f4", (2,))]
)  # fmt: skip


@settings(max_examples=examples(40, 150), deadline=None)
@given(
    shape=_SHAPES,
    dtype=_DTYPES,
    order=st.sampled_from([False, False, True, 0, None]),
    version=st.sampled_from([b"\1\0", b"\2\0", b"\3\0"]),
    extra=st.sampled_from([0, 0, 0, 1, -1]),
    more=st.sampled_from(["", "", ", 'x': 1"]),
)
@example((-5, -8), "<f2", False, b"\1\0", 0, "")
@example((0, 2**63), "<f2", False, b"\1\0", 0, "")
@example((0, True), "<f2", False, b"\1\0", 0, "")
@example((3, 4), "<f4", False, b"\1\0", 0, "")
@example((3, 4), "<f2", False, b"\3\0", 0, "")
def test_a_header_is_refused_or_the_rows_are_those_of_numpy(
    tmp_path_factory: pytest.TempPathFactory,
    shape: Any,
    dtype: Any,
    order: Any,
    version: bytes,
    extra: int,
    more: str,
) -> None:
    """The size of the file fits what the header says where that can be."""
    path = tmp_path_factory.getbasetemp() / "img_emb_0.npy"
    header = f"{{'descr': {dtype!r}, 'fortran_order': {order!r}, 'shape': {shape!r}{more}}}\n"
    size = 0
    if isinstance(shape, tuple) and all(isinstance(n, int) for n in shape):
        size = max(
            0, min(int(np.prod([float(n) for n in shape])) * (2 if dtype == "<f2" else 4), 999)
        )
    file = written(path, header, version, max(0, size + extra))
    try:
        expected = np.load(io.BytesIO(path.read_bytes()), allow_pickle=False)
    except Exception:  # noqa: BLE001 - NumPy's parser raises errors of any kind
        expected = None
    is_good = (
        expected is not None
        and expected.ndim == 2
        and expected.dtype in (np.dtype("<f2"), np.dtype("<f4"))
        and 0 < expected.shape[1] < 2**31
        and order is False
        and extra == 0
    )
    try:
        opened = NpyFile.open(file)
    except ShardError as error:
        assert not is_good
        assert str(error).startswith(f"{path}: ")
        assert "\n" not in str(error)
        return
    assert expected is not None
    assert (opened.rows, opened.dim) == expected.shape
    assert opened.read(0, opened.rows).tobytes() == expected.tobytes()


def test_wide_rows_are_checked_in_little_memory(tmp_path: Path) -> None:
    rows, dim = 64, MANY // 64
    path = tmp_path / "img_emb_0.npy"
    vectors = np.lib.format.open_memmap(path, "w+", np.float32, (rows, dim))
    vectors[:, 7] = 1
    vectors[40, 9] = np.nan
    vectors.flush()
    opened = NpyFile.open(DataFile(fsspec.filesystem("file"), str(path), path.stat().st_size, ""))
    tracemalloc.start()
    try:
        with pytest.raises(ShardError, match="row 40 holds NaN"):
            opened.check_values()
        assert tracemalloc.get_traced_memory()[1] < 2 * MANY
    finally:
        tracemalloc.stop()
