"""Codes on centred vectors that the server computes itself, beside the modes cliphouse has.

A vector x is searched by its product with a query q. Less the mean m of all vectors, r = x - m
ranks alike (q.x = q.r + q.m, and q.m is the same for all rows), and short codes of r lose less.
Every way here finds a shortlist by codes, and ranks that by the vectors themselves.

    python benchmarks/centred.py [--shard DIR]
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

import cliphouse
from centred_report import (
    PAGE,
    Cold,
    First,
    Made,
    Measured,
    Report,
    markdown,
    shortlist_for,
)
from clip_like import DIM, ClipLike, Floats, write_shard
from ingest import Machine

K = 10
ROWS = 100_000
QUERIES = 60
WARM_UP = 3
COLD = 5  # queries with the files out of the page cache
SHORTLISTS = (50, 100, 200, 400)
SAMPLE = 20_000  # rows that the axes are learned from
PADDED = DIM + 8  # the Quantized codec takes multiples of 8
DEVIATIONS = 5  # an Int8 reaches so many standard deviations from 0
FINE = 32  # rows of a granule where the rescored rows shall cost little reading
MODES: tuple[Literal["rabitq", "turboquant"], ...] = ("rabitq", "turboquant")
LONG = {"enable_quantized_codec": 1, "max_query_size": 2**24}
READ = (
    "SETTINGS local_filesystem_read_method = 'mmap', min_bytes_to_use_mmap_io = 1, "
    "checksum_on_read = 0"
)
EXACTLY = f"{READ}, query_plan_try_use_vector_search = 0"


@dataclass(frozen=True)
class Axes:
    """Two maps of shape (d, 512), float32, so that (queries @ q) . (rows @ r) is nearly q.r; each
    number of ``rows @ r`` has variance 1."""

    rows: Floats
    queries: Floats

    def cut(self, count: int) -> Axes:
        """The first ones, which carry most."""
        return Axes(self.rows[:count], self.queries[:count])


@dataclass(frozen=True)
class Way:
    """A way to search. ``search`` takes a query (512,) and the length of the shortlist, and
    returns ids; ``first`` is its first stage alone, where that can be asked for."""

    name: str
    code_bytes: float
    search: Callable[[Floats, int], list[int]]
    first: Callable[[Floats, int], object] | None = None
    shortlists: tuple[int, ...] = SHORTLISTS
    granule: int = 512  # rows that are read for one


def literal(values: NDArray[Any]) -> str:
    """The array as SQL: an Array(Float32) or Array(Int8), whichever it is."""
    element = {"float32": "Float32", "int8": "Int8"}[values.dtype.name]
    encoded = base64.b64encode(np.ascontiguousarray(values).tobytes()).decode()
    return f"reinterpret(base64Decode('{encoded}'), 'Array({element})')"


def as_int8(values: Floats) -> NDArray[np.int8]:
    """The direction of a query in whole numbers: its length does not change a ranking."""
    whole: NDArray[np.int8] = np.rint(values * (127 / np.abs(values).max())).astype(np.int8)
    return whole


def principal_axes(centred: Floats) -> Axes:
    """Directions of the greatest variance of ``centred``, (n, 512)."""
    values, vectors = np.linalg.eigh(centred.T @ centred / len(centred))
    deviation = np.sqrt(np.maximum(values[::-1], 1e-12))[:, None]
    directions = vectors[:, ::-1].T
    return Axes(
        (directions / deviation).astype(np.float32), (directions * deviation).astype(np.float32)
    )


def query_axes(centred: Floats, asked: Floats) -> Axes:
    """The axes of the least mean square error of q.r, for queries like ``asked``, (n, 512).

    With R and Q the second moments of rows and queries, the error of a map M of rank d is that of
    Q^1/2 M R^1/2 to Q^1/2 R^1/2, which the first d terms of its singular value decomposition make
    least (Eckart-Young). LeanVec (Tepper et al., arXiv 2312.16335) seeks the same for queries
    from outside the rows' cloud, with orthonormal axes.
    """
    rows, queries = centred.T @ centred / len(centred), asked.T @ asked / len(asked)
    left, weights, right = np.linalg.svd(_power(queries, 0.5) @ _power(rows, 0.5))
    return Axes(
        (right @ _power(rows, -0.5)).astype(np.float32),
        ((_power(queries, -0.5) @ left) * weights).T.astype(np.float32),
    )


def _power(moments: Floats, exponent: float) -> NDArray[np.float64]:
    values, vectors = np.linalg.eigh(moments.astype(np.float64))
    values = np.maximum(values, values.max() * 1e-7)
    return np.asarray((vectors * values**exponent) @ vectors.T)


class Bench:
    """The database with its tables, and what making the codes has cost."""

    def __init__(self, folder: Path, shard: Path) -> None:
        self.folder = folder / "laion.chdb"
        self.made: list[Made] = []
        self.table = cliphouse.open(self.folder, "laion")
        self.table.ingest(shard, precision="float32")
        self.coded = {mode: cliphouse.open(self.folder, mode) for mode in MODES}
        for mode, table in self.coded.items():
            table.ingest(shard, precision="float32", codes=mode)
        means = "SELECT avgForEach(image_embedding) AS mean FROM laion"
        self.mean = np.array(self._rows(means)[0]["mean"], np.float32)
        self.centred = f"arrayMap((x, m) -> x - m, image_embedding, {literal(self.mean)})"

    def ways(self) -> Iterator[Way]:
        yield self._exact()
        for mode, table in self.coded.items():
            size = self._size(mode, "image_embedding", "quantized")
            yield Way(f"codes, {mode}", size, self._by_mode(table, "codes"))
        yield from self._padded()
        images, texts = self._sample("image_embedding"), self._sample("text_embedding")
        centred = images - self.mean
        yield self._whole(127 / float(np.abs(centred).max()))
        principal = principal_axes(centred)
        yield self._projected("principal64", "64 principal axes", principal.cut(64))
        yield self._projected("principal128", "128 principal axes", principal.cut(128))
        yield self._projected("wide128", "128 principal axes", principal.cut(128), "BFloat16")
        both = query_axes(centred, np.concatenate([texts, images]))
        for count in (64, 96, 128):
            yield self._projected(f"query{count}", f"{count} query-aware axes", both.cut(count))
        yield self._fine("query64", "64 query-aware axes", both.cut(64))

    def _exact(self) -> Way:
        def first(query: Floats, shortlist: int) -> object:
            distance = f"cosineDistance(image_embedding, {literal(query)})"
            return self._rows(
                f"SELECT id FROM laion ORDER BY {distance} LIMIT {shortlist} {EXACTLY}"
            )

        size = self._size("laion", "image_embedding")
        return Way("exact, Float32", size, self._by_mode(self.table, "exact"), first, (0,))

    def _whole(self, scale: float) -> Way:
        """All 512 dimensions as Int8."""
        self._add("whole", "Int8", f"arrayMap(v -> v * {scale}, {self.centred})")
        return self._two_stages("512 dimensions, Int8", "laion", "whole", as_int8)

    def _projected(self, column: str, name: str, axes: Axes, element: str = "Int8") -> Way:
        scale = 127 / DEVIATIONS if element == "Int8" else 1.0
        numbers = (
            f"dotProduct(image_embedding, {literal(axis * np.float32(scale))})"
            f" - {float(axis @ self.mean) * scale:.6f}"
            for axis in axes.rows
        )
        self._add(column, element, f"[{', '.join(numbers)}]")
        if element == "Int8":
            return self._two_stages(
                f"{name}, Int8", "laion", column, lambda q: as_int8(axes.queries @ q)
            )
        return self._two_stages(f"{name}, {element}", "laion", column, lambda q: axes.queries @ q)

    def _fine(self, column: str, name: str, axes: Axes) -> Way:
        """The same codes in a table of small granules, of which few bytes are read for a row."""
        self._run(
            f"CREATE TABLE fine (id Int64, url String CODEC(ZSTD), caption String CODEC(ZSTD), "
            f"image_embedding Array(Float32) CODEC(NONE), {column} Array(Int8) CODEC(NONE)) "
            f"ENGINE = MergeTree ORDER BY id "
            f"SETTINGS index_granularity = {FINE}, min_bytes_for_wide_part = 0"
        )
        self._run(f"INSERT INTO fine SELECT id, url, caption, image_embedding, {column} FROM laion")
        self._run("OPTIMIZE TABLE fine FINAL")
        shown = f"{name}, Int8, granules of {FINE} rows"
        way = self._two_stages(shown, "fine", column, lambda q: as_int8(axes.queries @ q))
        return replace(way, granule=FINE)

    def _padded(self) -> Iterator[Way]:
        """Centred vectors with one more number that makes all equally long, so that the codec's
        cosine ranks them as their product with (q, 0) does."""
        square = f"dotProduct({self.centred}, {self.centred})"
        longest = float(self._rows(f"SELECT max({square}) AS longest FROM laion")[0]["longest"])
        pad = f"sqrt(greatest(0, {longest} - {square}))"
        for mode in MODES:
            table = f"centred_{mode}"
            self._run(
                f"CREATE TABLE {table} (id Int64, url String CODEC(ZSTD), caption String "
                "CODEC(ZSTD), image_embedding Array(Float32) CODEC(NONE), code Array(Float32) "
                f"MATERIALIZED arrayResize(arrayPushBack({self.centred}, {pad}), {PADDED}, 0) "
                f"CODEC(Quantized('{mode}', {PADDED}))) ENGINE = MergeTree ORDER BY id "
                "SETTINGS index_granularity = 512, min_bytes_for_wide_part = 0"
            )
            with self._noted(f"centred and padded, {mode} (with a copy of the table)"):
                self._run(
                    f"INSERT INTO {table} SELECT id, url, caption, image_embedding FROM laion"
                )
            self._run(f"OPTIMIZE TABLE {table} FINAL")
            size = self._size(table, "code", "quantized")
            yield Way(f"centred and padded, {mode}", size, self._by_codec(table))

    def _by_codec(self, table: str) -> Callable[[Floats, int], list[int]]:
        def search(query: Floats, shortlist: int) -> list[int]:
            padded = np.concatenate([query, np.zeros(PADDED - DIM, np.float32)])
            return self._ids(
                f"SELECT id, url, caption, cosineDistance(code, {literal(padded)}) AS distance "
                f"FROM {table} ORDER BY distance LIMIT {K} {READ}, "
                "vector_search_use_quantized_codes = 1, "
                f"vector_search_index_fetch_multiplier = {shortlist // K}"
            )

        return search

    def _two_stages(
        self, name: str, table: str, column: str, encode: Callable[[Floats], NDArray[Any]]
    ) -> Way:
        """Plain functions: the product of the codes, then the distance of the shortlist."""

        def candidates(query: Floats, shortlist: int) -> str:
            score = f"dotProduct({column}, {literal(encode(query))})"
            return f"SELECT id FROM {table} ORDER BY {score} DESC LIMIT {shortlist}"

        def search(query: Floats, shortlist: int) -> list[int]:
            distance = f"cosineDistance(image_embedding, {literal(query)}) AS distance"
            return self._ids(
                f"SELECT id, url, caption, {distance} FROM {table} "
                f"WHERE id IN ({candidates(query, shortlist)}) ORDER BY distance LIMIT {K} "
                f"{EXACTLY}"
            )

        def first(query: Floats, shortlist: int) -> object:
            return self._rows(f"{candidates(query, shortlist)} {EXACTLY}")

        return Way(name, self._size(table, column), search, first)

    @staticmethod
    def _by_mode(table: cliphouse.Table, mode: Any) -> Callable[[Floats, int], list[int]]:
        def search(query: Floats, shortlist: int) -> list[int]:
            options: dict[str, Any] = {"oversampling": shortlist // K} if mode == "codes" else {}
            return [hit.id for hit in table.search(query, K, mode=mode, **options)]

        return search

    def _add(self, column: str, element: str, numbers: str) -> None:
        """A column that the server fills from image_embedding, and goes on filling."""
        if element == "Int8":
            numbers = f"arrayMap(v -> toInt8(round(least(127, greatest(-127, v)))), {numbers})"
        self._run(
            f"ALTER TABLE laion ADD COLUMN {column} Array({element}) "
            f"MATERIALIZED CAST({numbers} AS Array({element})) CODEC(NONE)"
        )
        with self._noted(f"{column}, {element}"):
            self._run(f"ALTER TABLE laion MATERIALIZE COLUMN {column} SETTINGS mutations_sync = 2")

    @contextmanager
    def _noted(self, what: str) -> Iterator[None]:
        started, processor = time.perf_counter(), time.process_time()
        yield
        seconds = time.perf_counter() - started
        self.made.append(Made(what, seconds, time.process_time() - processor))

    def _size(self, table: str, column: str, stream: str | None = None) -> float:
        """Bytes a row of a column on disk, or of one stream of it, as the engine says."""
        value = f"subcolumns.data_compressed_bytes[indexOf(subcolumns.names, '{stream}')]"
        found = self._rows(
            f"SELECT sum({value if stream else 'column_data_compressed_bytes'}) AS bytes, "
            "sum(rows) AS total FROM system.parts_columns WHERE active "
            f"AND database = currentDatabase() AND table = '{table}' AND column = '{column}'"
        )[0]
        return float(found["bytes"]) / float(found["total"])

    def _sample(self, column: str) -> Floats:
        found = self.table.sql(f"SELECT {column} FROM laion ORDER BY sipHash64(id) LIMIT {SAMPLE}")
        flat = found.column(0).combine_chunks().flatten().to_numpy()
        return np.asarray(flat, np.float32).reshape(-1, DIM)

    def _ids(self, statement: str) -> list[int]:
        return [int(row["id"]) for row in self._rows(statement)]

    def _rows(self, statement: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.table.connection.query(statement).to_pylist()
        return rows

    def _run(self, statement: str) -> None:
        self.table.connection.command(statement, settings=LONG)

    def forget_files(self) -> None:
        """Put the database's files out of the page cache."""
        self._run("SYSTEM DROP MMAP CACHE")
        for path in self.folder.rglob("*.bin"):
            with path.open("rb") as stream:
                os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


@dataclass(frozen=True)
class Queries:
    """Unit vectors beyond the table's rows, (n, 512), and the exact answers, (n, K) ids."""

    vectors: Floats
    answers: NDArray[np.int64]
    is_text: NDArray[np.bool_]

    @classmethod
    def beyond(cls, rows: Floats) -> Queries:
        made = ClipLike().vectors(len(rows), len(rows) + QUERIES)
        vectors = np.concatenate([made.text, made.image])
        lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows))
        answers = [np.argsort(-(rows @ vector) / lengths)[:K] for vector in vectors]
        return cls(vectors, np.array(answers), np.arange(2 * QUERIES) < QUERIES)


def measure(way: Way, shortlist: int, queries: Queries) -> Measured:
    for vector in queries.vectors[:WARM_UP]:
        way.search(vector, shortlist)
    recalls, seconds = [], []
    processor = time.process_time()
    for vector, answer in zip(queries.vectors, queries.answers, strict=True):
        started = time.perf_counter()
        found = way.search(vector, shortlist)
        seconds.append(time.perf_counter() - started)
        recalls.append(len(set(found) & set(answer.tolist())) / K)
    processor = (time.process_time() - processor) / len(seconds)
    text = float(np.mean(np.array(recalls)[queries.is_text]))
    image = float(np.mean(np.array(recalls)[~queries.is_text]))
    median, p95 = np.quantile(seconds, (0.5, 0.95)).tolist()
    measured = Measured(
        way.name, way.code_bytes, way.granule, shortlist, text, image, median, p95, processor
    )
    print(measured, flush=True)
    return measured


def measure_first(way: Way, queries: Queries) -> First:
    """The first stage alone, for the text queries and a shortlist of 100."""
    assert way.first is not None
    seconds, processor = [], time.process_time()
    for vector in queries.vectors[:QUERIES]:
        started = time.perf_counter()
        way.first(vector, 100)
        seconds.append(time.perf_counter() - started)
    processor = (time.process_time() - processor) / len(seconds)
    return First(way.name, way.code_bytes, float(np.median(seconds)), processor)


def measure_cold(way: Way, shortlist: int, queries: Queries, bench: Bench) -> Cold:
    """What a text query reads from the disk when nothing is in the page cache."""
    seconds, read = [], []
    for vector in queries.vectors[:COLD]:
        bench.forget_files()
        before, started = disk_reads(), time.perf_counter()
        way.search(vector, shortlist)
        seconds.append(time.perf_counter() - started)
        read.append(disk_reads() - before)
    return Cold(way.name, shortlist, float(np.median(read)), float(np.median(seconds)))


def disk_reads() -> int:
    """Bytes this process has had read from disks (Linux)."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in lines)["read_bytes"])


def run(folder: Path, shard: Path) -> Report:
    rows = np.load(shard / "img_emb" / "img_emb_0.npy").astype(np.float32)
    queries = Queries.beyond(rows)
    load_average = os.getloadavg()[0]
    bench = Bench(folder, shard)
    ways = list(bench.ways())
    measured = [measure(way, size, queries) for way in ways for size in way.shortlists]
    first = [measure_first(way, queries) for way in ways if way.first]
    os.sync()
    cold = []
    for way in ways:
        enough = shortlist_for(measured, way.name) or way.shortlists[-1]
        cold.append(measure_cold(way, enough, queries, bench))
        print(cold[-1], flush=True)
    return Report(Machine.here(), load_average, len(rows), bench.made, measured, first, cold)


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--shard", type=Path, help="a ready folder of clip_like.py, shard 0")
    parser.add_argument("--dir", type=Path, help="where to work; needs 2.5 GB")
    parser.add_argument("--no-report", action="store_true", help="print only")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-centred-", dir=options.dir) as base:
        shard = options.shard or Path(base, "shard")
        if options.shard is None:
            write_shard(shard, 0, ROWS)
        report = run(Path(base).resolve(), shard)
    if options.no_report:
        print(markdown(report))
        return
    PAGE.write_text(markdown(report))
    PAGE.with_suffix(".json").write_text(json.dumps(asdict(report), indent=1) + "\n")
    print(f"written: {PAGE}")


if __name__ == "__main__":
    main()
