"""The plan's bytes against tables the engine really built, by the engine's own figures.

Times depend on the machine: benchmarks/plan.py shows those.
"""

from __future__ import annotations

import json
import math
import statistics
import sys
from functools import cache
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cliphouse.errors import QueryError
from cliphouse.indexing.forecast import IndexForecast
from cliphouse.indexing.trial import Trial, try_build
from cliphouse.planning import costs
from cliphouse.planning import plan as planning
from cliphouse.planning.build import BuildForecast, forecast_build
from cliphouse.planning.costs import Collection, Layout, Speeds
from cliphouse.planning.plan import Machines, make_plan
from cliphouse.schema.index_spec import IndexSpec
from cliphouse.table import Table
from cliphouse.vocabulary import Precision
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


@cache
def metadata(rows: int) -> dict[str, Any]:
    """Urls and captions of LAION's lengths, for vectors of any dimension."""
    batches = [batch.metadata.to_pydict() for batch in ClipLike(3).batches(0, rows)]
    return {name: [v for batch in batches for v in batch[name]] for name in batches[0]}


def figure(table: Table, sql: str) -> int:
    found = table.sql(f"{sql} AND database = currentDatabase() AND table = 'laion'")
    return int(found.column(0)[0].as_py())


def disk_of(table: Table) -> int:
    return figure(table, "SELECT sum(bytes_on_disk) FROM system.parts WHERE active")


@pytest.mark.parametrize(
    ("rows", "dim", "modalities"), [(5000, 64, 2), (20_000, 64, 1), (5000, 768, 2), (8000, 512, 1)]
)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
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
    share = Collection(rows, dim, modalities)
    of_parts = "SELECT {} FROM system.parts WHERE active"
    marks = figure(table, of_parts.format("sum(marks_bytes)"))
    assert costs.mark_bytes(share) == pytest.approx(marks, rel=0.5)  # small files have headers
    key = figure(table, of_parts.format("sum(primary_key_bytes_in_memory)"))
    assert costs.key_bytes(share) == pytest.approx(key, rel=0.05)
    embeddings = figure(
        table,
        "SELECT sum(column_data_compressed_bytes) FROM system.parts_columns "
        "WHERE active AND column LIKE '%_embedding'",
    )
    assert predicted - rows * costs.METADATA_BYTES == pytest.approx(embeddings, rel=0.01)


@pytest.mark.parametrize("codes", ["rabitq", "turboquant"])
@pytest.mark.parametrize("dim", [64, 512])
def test_disk_of_codes(tmp_path: Path, open_table: OpenTable, codes: costs.Codes, dim: int) -> None:
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
    added = 2 * rows * costs.code_bytes(codes, dim)
    assert added == pytest.approx(disk_of(table) - bare, rel=NEAR)


@pytest.fixture(scope="module")
def like_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two shards of 2,000 rows with vectors that look like CLIP's."""
    folder = tmp_path_factory.mktemp("like-clip")
    for shard in range(2):
        write_shard(folder, shard, 2000)
    return folder


@pytest.mark.parametrize("index", [IndexSpec(), GUIDE], ids=["own", "guide"])
def test_disk_and_memory_of_a_graph(
    like_clip: Path, open_table: OpenTable, index: IndexSpec
) -> None:
    """Over real-looking vectors, since the links of a graph and how they compress hang on them."""
    rows = 4000
    table = open_table()
    table.ingest(like_clip)
    table.index(index)
    graph = "SELECT sum(data_{}compressed_bytes) FROM system.data_skipping_indices WHERE 1"
    predicted = expect(Layout("float32", index=index, indexed=1), rows)
    assert predicted.graph_bytes == pytest.approx(figure(table, graph.format("un")), rel=NEAR)
    assert predicted.disk_bytes == pytest.approx(disk_of(table), rel=NEAR)
    on_disk = predicted.disk_bytes - expect(Layout("float32"), rows).disk_bytes
    assert on_disk == pytest.approx(figure(table, graph.format("")), rel=NEAR)


def test_a_loaded_graph_counts_for_what_is_reserved_for_it(
    tmp_path: Path, open_table: OpenTable
) -> None:
    rows, dim = 20_000, 256
    make_shard(tmp_path / "s", rows=rows, dim=dim, with_text=False)
    table = open_table()
    table.ingest(tmp_path / "s")
    index = IndexSpec(m=4, ef_construction=8)
    table.index(index)
    weight = "SELECT value FROM system.metrics WHERE metric = 'VectorSimilarityIndexCacheBytes'"
    before = table.sql(weight).column(0)[0].as_py()
    table.search("id:7", k=5, mode="hnsw", ef=16)
    counted = table.sql(weight).column(0)[0].as_py() - before
    # 10.2 MB of vectors lie in pieces of 8 and 16 MiB, a tenth of that of links in one of 8.
    assert counted == pytest.approx(32 * 2**20, rel=0.02)
    assert counted == pytest.approx(costs.cache_bytes(index, Collection(rows, dim)), rel=0.02)


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


OF_A_MACHINE = (
    "rows", "disk_bytes", "indexing_disk_bytes", "memory_bytes", "building_memory_bytes",
    "cached_bytes", "graph_bytes", "merged_parts", "load_seconds", "index_seconds", "fits",
    "is_cached", "rescores_from_disk", "outgrows_graph_cache",
)  # fmt: skip


@given(st.integers(1, 10**9), st.integers(1, 500), st.integers(1, 3))
def test_a_shard_is_planned_as_a_machine_with_its_rows(
    rows: int, shards: int, replicas: int
) -> None:
    cluster = Machines(8, 2**36, shards * replicas, replicas, shards, graph_cache_bytes=2**33)
    whole = make_plan(Collection(rows * shards), cluster)
    alone = make_plan(Collection(rows), Machines(8, 2**36, graph_cache_bytes=2**33))
    for shard, machine in zip(whole.estimates, alone.estimates, strict=True):
        for name in OF_A_MACHINE:
            assert getattr(shard, name) == getattr(machine, name), name
        assert shard.query_seconds >= machine.query_seconds
        assert shard.queries_per_second == pytest.approx(replicas * machine.queries_per_second)


def test_a_cluster_waits_for_its_slowest_shard() -> None:
    """Against the medians of the slowest of N draws, of times that spread as the measured ones."""
    speeds = Speeds(round_trip=0, network_bytes=1e30)
    drawn = np.random.default_rng(5).lognormal(math.log(0.03), speeds.spread, (4000, 64))
    for shards in (1, 2, 8, 64):
        slowest = float(np.median(drawn[:, :shards].max(axis=1)))
        assert costs.cluster_seconds(0.03, shards, speeds) == pytest.approx(slowest, rel=0.02)
    far = Speeds(round_trip=0.05)
    assert costs.cluster_seconds(0.03, 8, far) > costs.cluster_seconds(0.03, 8, speeds) + 0.05


def test_times_spread_as_the_committed_benchmark_says() -> None:
    timings = json.loads((ROOT / "docs" / "benchmarks" / "search.json").read_text())["timings"]
    ratios = [
        run["p95"] / run["p50"]
        for run in timings
        if (run["rows"], run["contender"], run["kind"]) == (1_000_000, "hnsw", "text")
        and run["case"].startswith("ef ")
    ]
    assert len(ratios) % 7 == 0
    at_95 = math.exp(Speeds().spread * NormalDist().inv_cdf(0.95))
    assert at_95 == pytest.approx(statistics.median(ratios), rel=0.05)


def test_more_loading_machines_load_faster_until_the_disks_are_the_limit() -> None:
    def seconds(loaders: int) -> float:
        machines = Machines(16, 2**36, nodes=2, loaders=loaders)
        layout = Layout("bfloat16")
        return planning.estimate(layout, Collection(10**9), machines, Speeds()).load_seconds

    assert seconds(2) == pytest.approx(seconds(1) / 2, rel=0.01)
    assert seconds(1000) == seconds(2000) > seconds(1) / 1000
    # Half of the rows a node, of 2 x (512 x 2 + 8) + 90 bytes and 28 for 64 rows, written four
    # times at 1 GB/s.
    assert seconds(1000) == pytest.approx(4 * 500_000_000 * (2154 + 28 / 64) / 1e9)


def test_candidates_that_do_not_stay_in_memory_are_read_from_the_disk() -> None:
    layout, rows = Layout("bfloat16", index=IndexSpec(), indexed=1), 20_000_000

    def plan(gigabytes: int) -> planning.Estimate:
        machines = Machines(16, gigabytes * 10**9, graph_cache_bytes=60 * 10**9)
        return planning.estimate(layout, Collection(rows), machines, Speeds().with_disk(1e8))

    tight, roomy = plan(40), plan(80)
    assert (tight.rescores_from_disk, roomy.rescores_from_disk) == (True, False)
    # 20 granules of 64 rows of 1,032 bytes, at 0.1 GB/s, one query's after another's.
    granules = 20 * 64 * 1032 / 1e8
    assert tight.query_seconds - roomy.query_seconds == pytest.approx(granules)
    assert tight.queries_per_second == pytest.approx(1 / granules)
    assert roomy.queries_per_second == pytest.approx(16 / roomy.query_seconds)


def test_a_wider_search_takes_longer_and_no_more_memory() -> None:
    machines = Machines(8, 2**40, graph_cache_bytes=2**39)
    narrow, wide = (make_plan(Collection(10**8), machines, ef=ef) for ef in (1000, 4000))
    for one, other in zip(narrow.estimates, wide.estimates, strict=True):
        assert one.memory_bytes == other.memory_bytes
        extra = 3000 * math.log2(10**8 + 1) * Speeds().visit if one.layout.index else 0.0
        assert other.query_seconds - one.query_seconds == pytest.approx(extra)


def test_one_machine_keeps_graphs_in_half_of_its_memory_and_several_what_the_engine_does() -> None:
    assert Machines(8, 64 * 2**30).graph_cache == 32 * 2**30
    assert Machines(8, 64 * 2**30, nodes=2).graph_cache == 5 * 2**30
    assert Machines(8, 8 * 2**30, nodes=2).graph_cache == 4 * 2**30


def test_a_graph_cache_that_is_raised_makes_a_large_graph_quick() -> None:
    def plan(cache: int | None) -> planning.TablePlan:
        machines = Machines(64, 10**12, graph_cache_bytes=cache)
        return make_plan(Collection(400_000_000), machines)

    before, after = plan(None), plan(700 * 10**9)
    assert before.recommended == after.recommended == "BFloat16, hnsw 32/128 image"
    assert "cache_size_to_ram_max_ratio above 0.69" in before.recommendation
    assert "--graph-cache" in before.recommendation
    assert "--graph-cache" not in after.recommendation


def test_index_merges_what_the_engine_by_itself_keeps_apart(
    tmp_path: Path, open_table: OpenTable
) -> None:
    """So that a shard has one graph, however small max_bytes_to_merge_at_max_space_in_pool is."""
    for number in range(2):
        make_shard(tmp_path / "s", number, rows=50, dim=8)
    table = open_table()
    table.ingest(tmp_path / "s")
    table.sql("ALTER TABLE laion MODIFY SETTING max_bytes_to_merge_at_max_space_in_pool = 1000")
    parts = "SELECT count() FROM system.parts WHERE active"
    table.sql("OPTIMIZE TABLE laion")
    assert figure(table, parts) == 2
    table.index(IndexSpec())
    assert figure(table, parts) == 1
    default = table.sql(
        "SELECT toInt64(value) FROM system.merge_tree_settings "
        "WHERE name = 'max_bytes_to_merge_at_max_space_in_pool'"
    )
    assert default.column(0)[0].as_py() == costs.MERGED_BYTES


def test_a_build_is_forecast_with_what_the_engine_keeps_of_graphs() -> None:
    """By docs/plan.md graphs outgrow 5 GiB from 2.1 million rows on."""

    def forecast(rows: int, cores: int = 2, cache: int | None = 5 * 2**30) -> BuildForecast:
        spec = IndexSpec()
        graph = IndexForecast(spec, rows, 512, spec.memory_bytes(rows, 512), 2**36, cache)
        return forecast_build(graph, cores)

    assert forecast(2_000_000).fits_cache
    assert not forecast(2_200_000).fits_cache
    assert forecast(2_200_000, cache=None).fits_cache
    assert forecast(10**6, 8).seconds == pytest.approx(forecast(10**6, 2).seconds / 4)
    planned = planning.estimate(
        Layout("float32", index=IndexSpec(), indexed=1), Collection(10**6), HERE, Speeds()
    )
    merging = costs.merge_seconds(planned.layout, Collection(10**6), Speeds())
    assert forecast(10**6).seconds == pytest.approx(planned.index_seconds - merging)
    assert forecast(10**6).cache_bytes == planned.graph_cache_bytes


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
    with pytest.raises(QueryError, match="nodes is 3 and replicas 2"):
        Machines(1, 2**40, 3, replicas=2)
    with pytest.raises(QueryError, match="loaders is -1"):
        Machines(1, 2**40, loaders=-1)
    with pytest.raises(QueryError, match="disk is 0 bytes a second"):
        Speeds().with_disk(0)
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
    assert said["machines"] == {
        "nodes": 1, "cores": 4, "memory_bytes": 64 * 2**30,
        "replicas": 1, "loaders": None, "graph_cache_bytes": None,
    }  # fmt: skip
    names = [entry["name"] for entry in said["estimates"]]
    assert len(names) == len(set(names)) == 14


def test_the_command_says_it_in_words(run: Run) -> None:
    finished = run("plan", "--rows", "400M", "--nodes", 10, "--memory", "16GB", "--modalities", 1)
    assert finished.returncode == 0, finished.stderr
    assert "40,000,000 rows on each of 10 machines" in finished.stdout
    assert "Times are estimates" in finished.stdout
    assert "does not fit into memory" in finished.stdout
    assert "Recommended: BFloat16, rabitq" in finished.stdout


def test_five_billion_on_a_cluster(run: Run) -> None:
    machines = ("--nodes", 64, "--replicas", 2, "--memory", "512GB", "--cores", 64)
    engine = ("--graph-cache", "250GB", "--disk", "3GB", "--loaders", 8)
    finished = run("plan", "--rows", "5.8B", *machines, *engine, "--json")
    said = json.loads(finished.stdout)
    assert said["machines"]["graph_cache_bytes"] == 250 * 10**9
    assert (said["speeds"]["disk_bytes"], said["speeds"]["graph_load_bytes"]) == (3e9, 1.5e9)
    graph = next(e for e in said["estimates"] if e["name"] == said["recommended"])
    assert said["recommended"] == "BFloat16, hnsw 32/128 image"
    # 32 shards of 181,250,000 rows, whose graph has 512 x 2 + 8 x 32 bytes a row.
    assert graph["graph_bytes"] == 181_250_000 * 1280
    assert graph["merged_parts"] == 3
    words = run("plan", "--rows", "5.8B", *machines, *engine).stdout
    assert "181,250,000 rows on each of 64 machines, every row on 2" in words
    assert "asks 32 shards" in words and "a disk of 3.0 GB/s" in words


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--rows", "1M", "--graph-cache", "big"), "--graph-cache 'big'"),
        (("--rows", "1M", "--disk", "fast"), "--disk 'fast'"),
        (("--rows", "1M", "--nodes", 3, "--replicas", 2), "nodes is 3 and replicas 2"),
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


def test_a_build_is_forecast_by_a_trial_on_this_machine() -> None:
    """By the measured times of 100,000 and 1,000,000 rows on one machine, 50 and 781 seconds."""

    def forecast(rows: int, trial: Trial | None) -> float:
        spec = IndexSpec()
        graph = IndexForecast(spec, rows, 512, spec.memory_bytes(rows, 512), 2**36, None)
        return forecast_build(graph, 2, trial).seconds

    share = Collection(1000, 512, 1)
    usual = costs.index_steps(IndexSpec(), share) * Speeds().place
    same, slow = (Trial(IndexSpec(), 1000, 512, usual * times) for times in (1, 3))
    for rows in (50_000, 10**6):
        assert forecast(rows, same) == pytest.approx(forecast(rows, None))
        assert forecast(rows, slow) == pytest.approx(3 * forecast(rows, None))
    assert 1 / 1.5 < forecast(100_000, None) / 50 < 1.5
    assert 1 / 1.5 < forecast(10**6, None) / 781 < 1.5


def test_a_trial_leaves_nothing_behind(tmp_path: Path, open_table: OpenTable) -> None:
    shard = make_shard(tmp_path / "s", rows=1200, dim=16)
    table = open_table()
    table.ingest(shard.folder, precision="bfloat16")
    trial = try_build(table.handle, IndexSpec(ef_construction=500), rows=10**6)
    assert trial is not None
    assert (trial.rows, trial.dim, trial.spec.ef_construction) == (1000, 16, 128)
    assert 0 < trial.processor_seconds < 10
    assert table.sql("SHOW TABLES").column(0).to_pylist() == ["laion", "laion_ledger"]
    assert table.sql("SELECT count() AS n FROM system.tables WHERE is_temporary").to_pylist() == [
        {"n": 0}
    ]
    assert try_build(table.handle, IndexSpec(), rows=1200) is None
