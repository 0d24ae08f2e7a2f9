"""The plan's bytes against tables the engine really built, by the engine's own figures.

Times depend on the machine: benchmarks/plan.py shows those.
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cliphouse.errors import QueryError
from cliphouse.table import planning
from cliphouse.table.index import IndexSpec
from cliphouse.table.planning import Collection, Layout, Machines, Speeds, make_plan
from cliphouse.table.schema import Precision
from cliphouse.table.table import Table
from conftest import OpenTable, Run
from shard_files import make_shard

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))
from clip_like import ClipLike, write_shard  # noqa: E402

NEAR = 0.25
HERE = Machines(cores=2, memory_bytes=24 * 2**30)
GUIDE = IndexSpec(m=64, ef_construction=256)


def expect(layout: Layout, rows: int, dim: int = 512, modalities: int = 2) -> planning.Estimate:
    return planning.estimate(layout, Collection(rows, dim, modalities), HERE, Speeds())


def metadata(rows: int) -> dict[str, Any]:
    """Urls and captions of LAION's lengths, for vectors of any dimension."""
    batches = [batch.metadata.to_pydict() for batch in ClipLike(3).batches(0, rows)]
    return {name: [v for batch in batches for v in batch[name]] for name in batches[0]}


def figure(table: Table, sql: str) -> int:
    found = table.sql(f"{sql} AND database = currentDatabase() AND table = 'laion'")
    return int(found.column(0)[0].as_py())


def disk_of(table: Table) -> int:
    return figure(table, "SELECT sum(bytes_on_disk) FROM system.parts WHERE active")


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("rows", "dim", "modalities"), [(5000, 64, 2), (20_000, 64, 1), (5000, 768, 2), (8000, 512, 1)]
)
def test_disk_of_a_loaded_table(
    tmp_path: Path,
    open_table: OpenTable,
    precision: Precision,
    rows: int,
    dim: int,
    modalities: int,
) -> None:
    values = metadata(rows)
    make_shard(tmp_path / "s", rows=rows, dim=dim, with_text=modalities == 2, metadata=values)
    table = open_table()
    table.ingest(tmp_path / "s", precision=precision)
    predicted = expect(Layout(precision), rows, dim, modalities).disk_bytes
    assert predicted == pytest.approx(disk_of(table), rel=NEAR)
    embeddings = figure(
        table,
        "SELECT sum(column_data_compressed_bytes) FROM system.parts_columns "
        "WHERE active AND column LIKE '%_embedding'",
    )
    assert predicted - rows * planning.METADATA_BYTES == pytest.approx(embeddings, rel=0.01)


@pytest.mark.parametrize("codes", ["rabitq", "turboquant"])
@pytest.mark.parametrize("dim", [64, 512])
def test_disk_of_codes(
    tmp_path: Path, open_table: OpenTable, codes: planning.Codes, dim: int
) -> None:
    rows = 5000
    make_shard(tmp_path / "s", rows=rows, dim=dim, metadata=metadata(rows))
    table = open_table()
    table.ingest(tmp_path / "s", precision="bfloat16")
    bare = disk_of(table)
    statement = table.sql("SHOW CREATE TABLE laion").column(0)[0].as_py()
    statement = statement.replace("CODEC(NONE)", f"CODEC(Quantized('{codes}', {dim}))")
    table.sql("RENAME TABLE laion TO bare")
    table.connection.command(statement, settings={"enable_quantized_codec": 1})
    table.sql("INSERT INTO laion SELECT * FROM bare")
    assert expect(Layout("bfloat16", codes), rows, dim).disk_bytes == pytest.approx(
        disk_of(table), rel=NEAR
    )
    added = 2 * rows * planning.code_bytes(codes, dim)
    assert added == pytest.approx(disk_of(table) - bare, rel=NEAR)


@pytest.mark.parametrize("index", [IndexSpec(), GUIDE], ids=["own", "guide"])
def test_disk_and_memory_of_a_graph(
    tmp_path: Path, open_table: OpenTable, index: IndexSpec
) -> None:
    """Over real-looking vectors, since the links of a graph and how they compress hang on them."""
    rows = 6000
    for shard in range(2):
        write_shard(tmp_path / "s", shard, rows // 2)
    table = open_table()
    table.ingest(tmp_path / "s")
    table.index(index)
    graph = "SELECT sum(data_{}compressed_bytes) FROM system.data_skipping_indices WHERE 1"
    predicted = expect(Layout("float32", index=index, indexed=1), rows)
    assert predicted.graph_bytes == pytest.approx(figure(table, graph.format("un")), rel=NEAR)
    assert predicted.disk_bytes == pytest.approx(disk_of(table), rel=NEAR)
    on_disk = predicted.disk_bytes - expect(Layout("float32"), rows).disk_bytes
    assert on_disk == pytest.approx(figure(table, graph.format("")), rel=NEAR)


def test_loading_is_as_the_committed_benchmark_says() -> None:
    runs = json.loads((ROOT / "docs" / "benchmarks" / "ingest.json").read_text())["runs"]
    precisions: dict[Precision, str] = {"float32": "cliphouse", "bfloat16": "cliphouse-bf16"}
    for precision, contender in precisions.items():
        for rows in {run["rows"] for run in runs}:
            times = [r["seconds"] for r in runs if (r["contender"], r["rows"]) == (contender, rows)]
            predicted = expect(Layout(precision), rows).load_seconds
            assert predicted == pytest.approx(statistics.median(times), rel=NEAR)


rows_of = st.integers(1, 10**10)


@given(rows_of, rows_of, st.integers(1, 4096), st.sampled_from([1, 2]))
def test_more_rows_never_cost_less(rows: int, more: int, dim: int, modalities: int) -> None:
    few, many = sorted((rows, more))
    for layout in planning.layouts(Collection(few, dim, modalities)):
        small, large = (expect(layout, count, dim, modalities) for count in (few, many))
        assert small.disk_bytes <= large.disk_bytes <= large.indexing_disk_bytes
        assert small.memory_bytes <= large.memory_bytes
        assert small.load_seconds <= large.load_seconds
        assert small.index_seconds <= large.index_seconds
        assert small.disk_query_seconds <= large.disk_query_seconds
        element = 4 if layout.precision == "float32" else 2
        assert small.disk_bytes >= few * dim * modalities * element


@given(st.integers(1, 10**9), st.integers(1, 500))
def test_a_shard_is_planned_as_a_machine_with_its_rows(rows: int, nodes: int) -> None:
    cluster = Machines(8, 2**36, nodes)
    whole = make_plan(Collection(rows * nodes), cluster)
    alone = make_plan(Collection(rows), Machines(8, 2**36))
    assert whole.estimates == alone.estimates
    assert whole.recommended == alone.recommended


def test_what_is_recommended_changes_with_size_and_memory() -> None:
    def recommended(rows: int, machines: Machines = HERE) -> str | None:
        return make_plan(Collection(rows), machines).recommended

    assert recommended(100_000) == "Float32, exact"
    assert recommended(3_000_000) == "Float32, hnsw 32/128 image"
    assert recommended(12_000_000) == "BFloat16, hnsw 32/128 image"
    assert recommended(100_000_000) == "BFloat16, rabitq"
    assert recommended(5_800_000_000) is None
    tight = Machines(cores=16, memory_bytes=3 * 10**9)
    assert recommended(1_500_000, tight) == "BFloat16, exact"


def test_the_number_of_machines_it_asks_for_is_the_least_that_does() -> None:
    collection = Collection(5_800_000_000)
    plan = make_plan(collection, HERE)
    nodes = int(plan.recommendation.split("--nodes ")[1].split()[0])
    enough = make_plan(collection, Machines(HERE.cores, HERE.memory_bytes, nodes))
    short = make_plan(collection, Machines(HERE.cores, HERE.memory_bytes, nodes - 1))
    assert enough.recommended is not None
    assert short.recommended is None


def test_what_does_not_fit_is_marked() -> None:
    plan = make_plan(Collection(10_000_000), HERE)
    by_name = {estimate.layout.name: estimate for estimate in plan.estimates}
    both = by_name["BFloat16, hnsw 64/256 both"]
    assert (both.graph_bytes > HERE.memory_bytes, both.fits) == (True, False)
    graph = by_name["BFloat16, hnsw 32/128 image"]
    assert (graph.fits, graph.outgrows_graph_cache) == (True, True)
    assert "vector_similarity_index_cache_size" in plan.recommendation


def test_numbers_out_of_range_are_named() -> None:
    with pytest.raises(QueryError, match="rows is 0"):
        Collection(0)
    with pytest.raises(QueryError, match="modalities is 3"):
        Collection(1, modalities=3)
    with pytest.raises(QueryError, match="nodes is 0"):
        Machines(1, 2**40, 0)
    with pytest.raises(QueryError, match="memory is below"):
        Machines(1, 1000)


@pytest.mark.parametrize(
    ("words", "rows"),
    [("400M", 400_000_000), ("5.8B", 5_800_000_000), ("1e9", 10**9), ("120000", 120_000),
     ("410k", 410_000), ("1,000,000", 10**6)],
)  # fmt: skip
def test_rows_in_words(run: Run, words: str, rows: int) -> None:
    finished = run("plan", "--rows", words, "--memory", "64GiB", "--cores", 4, "--json")
    said = json.loads(finished.stdout)
    assert said["collection"] == {"rows": rows, "dim": 512, "modalities": 2}
    assert said["machines"] == {"nodes": 1, "cores": 4, "memory_bytes": 64 * 2**30}
    names = [entry["name"] for entry in said["estimates"]]
    assert len(names) == len(set(names)) == 14


def test_the_command_says_it_in_words(run: Run) -> None:
    finished = run("plan", "--rows", "400M", "--nodes", 10, "--memory", "16GB", "--modalities", 1)
    assert finished.returncode == 0, finished.stderr
    assert "40,000,000 rows on each of 10 machines" in finished.stdout
    assert "Times are estimates" in finished.stdout
    assert "does not fit into memory" in finished.stdout
    assert "Recommended: BFloat16, rabitq" in finished.stdout


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--rows", "many"), "--rows 'many'"),
        (("--rows", "5Q"), "5Q"),
        (("--rows", "0"), "rows is 0"),
        (("--rows", "1M", "--memory", "64 apples"), "64 apples"),
        (("--rows", "1M", "--memory", "1MB"), "memory is below"),
    ],
)
def test_what_cannot_be_understood_is_said(
    run: Run, arguments: tuple[str, ...], named: str
) -> None:
    finished = run("plan", *arguments)
    assert finished.returncode == 2
    assert named in finished.stderr
    assert len(finished.stderr.splitlines()) == 1
