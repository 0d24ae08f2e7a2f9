"""How a table lies on disk, and what that costs a search: granules and blocks, side by side.

    python benchmarks/layout.py [--rows N ...] [--dir DIR] [--no-report]

The same rows are kept in tables of several layouts in one database, each with the same index, and
the same queries are asked of all of them in turn. Two more tables compare how many candidates of an
index are compared exactly, and from how many rows on an exact search reads with a further thread
and in blocks of how many bytes. Tables above 100,000 rows have no graphs.
A full run writes docs/benchmarks/layout.md and layout.json.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import cliphouse
from clip_like import ClipLike, write_shard
from cliphouse.cluster.ddl import create_statements
from cliphouse.cluster.placement import Placement
from cliphouse.schema.facts import DISTANCE
from cliphouse.schema.index_spec import IndexSpec
from cliphouse.schema.info import TableInfo
from cliphouse.search.query.parameter import decode_expression, encode_parameter
from cliphouse.vocabulary import Precision, Quantization
from ingest import Machine
from layout_data import (
    CODES,
    EF_CONSTRUCTION,
    INDEXED_UP_TO,
    PRECISIONS,
    QUERIES,
    TODAY,
    VARIANTS,
    WARM_UP,
    K,
    M,
    Run,
    Size,
    Timing,
    Variant,
    asked_of,
    variants,
)
from layout_report import markdown

REPORT = Path(__file__).resolve().parents[1] / "docs" / "benchmarks" / "layout.md"
READ = (
    "local_filesystem_read_method = 'mmap', min_bytes_to_use_mmap_io = 1, checksum_on_read = 0, "
    "max_limit_for_vector_search_queries = 1000000, vector_search_with_rescoring = 1"
)


@dataclass(frozen=True)
class Queries:
    """Unit vectors that are no rows of the table, float32 of shape (n, 512)."""

    text: NDArray[np.float32]
    image: NDArray[np.float32]


def queries(rows: int) -> Queries:
    made = ClipLike().vectors(rows, rows + QUERIES + WARM_UP)
    return Queries(made.text, made.image)


def prepare(folder: Path, rows: int, precision: Precision) -> list[Size]:
    """Load the rows into a table of every layout, and index them."""
    shard = folder / "shard"
    if not shard.exists():
        write_shard(shard, 0, rows)
    sizes = []
    with cliphouse.open(folder / f"{precision}.chdb") as table:
        table.ingest(shard, precision=precision)
        info = table.info
        for variant in variants(rows, precision):
            sizes.append(fill(table, variant, rows, info))
            print(f"  {precision}, {variant.name}: {sizes[-1].inserted:,.0f} rows/s", flush=True)
    for variant in VARIANTS if rows <= INDEXED_UP_TO else ():
        with cliphouse.open(folder / f"{precision}.chdb", table=variant.name) as made:
            made.index(IndexSpec("image", m=M, ef_construction=EF_CONSTRUCTION))
    return sizes


def fill(table: cliphouse.Table, variant: Variant, rows: int, info: TableInfo) -> Size:
    """Copy the rows of ``table`` into a table of another layout, in one part."""
    name, layout = variant.name, variant.layout(info)
    connection = table.connection
    connection.command(f"DROP TABLE IF EXISTS {name}")
    for statement in create_statements(Placement(name, name, None, None), layout, ""):
        connection.command(statement, settings=dict(layout.made_with))
    started = time.perf_counter()
    connection.command(f"INSERT INTO {name} SELECT * FROM laion ORDER BY id")
    seconds = time.perf_counter() - started
    connection.command(f"OPTIMIZE TABLE {name} FINAL")
    found = connection.query(
        "SELECT sum(bytes_on_disk) AS disk, sum(marks_bytes) AS marks, "
        "sum(primary_key_bytes_in_memory) AS key FROM system.parts "
        "WHERE active AND database = currentDatabase() AND table = {name:String}",
        {"name": name},
    ).to_pylist()[0]
    return Size(rows, info.precision, name, **found, inserted=rows / seconds)


def measure_layouts(folder: Path, rows: int, precision: Precision) -> Iterator[Timing]:
    """Ask every table the same queries, one table after the other for each query."""
    asked = queries(rows).text
    with ExitStack() as stack:
        tables = {
            v: stack.enter_context(cliphouse.open(folder / f"{precision}.chdb", table=v.name))
            for v in variants(rows, precision)
        }
        for what, options in asked_of(rows, precision).items():
            ways = {
                variant.name: lambda query, t=table, o=options: t.search(query, k=K, **o)
                for variant, table in tables.items()
                if variant.has_codes == (what == CODES)
            }
            for name, times in in_turn(ways, asked).items():
                yield timing(rows, precision, name, what, times)


def in_turn(ways: Mapping[str, Callable[[Any], object]], asked: Any) -> dict[str, list[float]]:
    """Milliseconds of each way for each query, after a warm-up."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number, query in enumerate(asked):
        for name, ask in ways.items():
            started = time.perf_counter()
            ask(query)
            if number >= WARM_UP:
                times[name].append((time.perf_counter() - started) * 1000)
    return times


def timing(rows: int, precision: str, variant: str, asked: str, times: list[float]) -> Timing:
    p10, p50, p90 = (round(float(p), 3) for p in np.percentile(times, (10, 50, 90)))
    return Timing(rows, precision, variant, asked, p10, p50, p90)


def measure_candidates(folder: Path, rows: int) -> Iterator[Timing]:
    """Recall and time by how many times k candidates are compared exactly, for two graphs."""
    vectors = ClipLike().vectors(0, rows).image
    kinds: tuple[tuple[Quantization, int], ...] = (("i8", 10), ("bf16", 100), ("bf16", 10))
    for quantization, k in kinds:
        with cliphouse.open(folder / "float32.chdb", table=TODAY.name) as table:
            table.index(IndexSpec("image", "cosine", quantization, M, EF_CONSTRUCTION))
            for kind in ("text", "image"):
                asked = getattr(queries(rows), kind)[: QUERIES // 2]
                right = np.argsort(-(asked @ vectors.T), axis=1)[:, :k]
                for times in (1, 1.1, 1.5, 2, 3, 5, 10):
                    settings = (
                        f"{READ}, hnsw_candidate_list_size_for_search = 1024, "
                        f"vector_search_index_fetch_multiplier = {times}"
                    )
                    ask = searcher(table, "float32", f"ASC LIMIT {k} SETTINGS {settings}")
                    shares = [
                        len(set(ask(q)) & set(r.tolist())) / k
                        for q, r in zip(asked, right, strict=True)
                    ]
                    took = in_turn({"": ask}, asked)[""]
                    what = f"{quantization} | {k} | {kind} | {times:g}"
                    made = timing(rows, "float32", TODAY.name, what, took)
                    yield replace(made, recall=round(float(np.mean(shares)), 4))


def measure_readers(folder: Path, rows: int, precision: Precision) -> Iterator[Timing]:
    """An exact search by the least rows for which a thread is worth it, and by the bytes of the
    blocks that are compared together."""
    least = {"163,840, 1 MB: the engine's": ""}
    for number, megabytes in ((8192, 1), (2048, 4), (8192, 2), (8192, 4), (8192, 8), (32_768, 4)):
        least[f"{number:,}, {megabytes} MB"] = (
            f", merge_tree_min_rows_for_concurrent_read = {number}"
            ", merge_tree_min_bytes_for_concurrent_read = 1048576"
            f", preferred_block_size_bytes = {megabytes}000000"
        )
    asked = queries(rows).text[: QUERIES // 2]
    with cliphouse.open(folder / f"{precision}.chdb", table=TODAY.name) as table:
        for size in (10_000, 30_000, 100_000, 300_000, 1_000_000):
            if size > rows:
                continue
            ways = {
                name: searcher(
                    table,
                    precision,
                    f"ASC, id ASC LIMIT {K} SETTINGS {READ}, query_plan_try_use_vector_search = 0"
                    f"{more}",
                    f"WHERE id < {size}",
                )
                for name, more in least.items()
            }
            for name, times in in_turn(ways, asked).items():
                yield timing(size, precision, TODAY.name, name, times)


def searcher(
    table: cliphouse.Table, precision: Precision, rest: str, where: str = ""
) -> Callable[[Any], list[int]]:
    """A search by its own statement, which ends with ``rest`` behind ORDER BY; returns ids."""
    target = decode_expression("target", precision)
    distance = f"{DISTANCE['cosine']}(image_embedding, {target})"
    sql = f"SELECT id, {distance} AS d FROM {TODAY.name} {where} ORDER BY d {rest}"
    connection = table.connection

    def ask(query: Any) -> list[int]:
        found = connection.columns(sql, {"target": encode_parameter(query, precision)})
        return list(found.get("id", ()))

    return ask


def run(folder: Path, rows: Sequence[int]) -> Run:
    """Prepare and measure every size, the smallest first."""
    made = Run([], [], [], [], Machine.here(), os.getloadavg()[0])
    for size in sorted(rows):
        place = folder / str(size)
        place.mkdir(parents=True, exist_ok=True)
        for precision in PRECISIONS:
            print(f"{size:,} rows, {precision}: loading", flush=True)
            made.sizes.extend(prepare(place, size, precision))
            for found in measure_layouts(place, size, precision):
                made.layouts.append(found)
                print(f"  {found.asked}, {found.variant}: {found.p50:.2f} ms", flush=True)
            made.readers.extend(measure_readers(place, size, precision))
        if size == min(rows):
            made.candidates.extend(measure_candidates(place, size))
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description="Layouts of a table, side by side.")
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--dir", type=Path, help="needs 15 kB a row and layout")
    parser.add_argument("--no-report", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        found = run(options.dir or Path(temporary), options.rows)
    text = markdown(found)
    if options.no_report:
        print(text)
        return
    REPORT.write_text(text)
    REPORT.with_suffix(".json").write_text(json.dumps(asdict(found), indent=1) + "\n")


if __name__ == "__main__":
    main()
