"""How fast a shard gets into a table: cliphouse and the other ways, one after another.

    python benchmarks/ingest.py [--rows N] [--repeat N] [--only NAME...] [--rows-large N]

Every contender is a fresh process with a folder of its own, on a shard that is in the page cache.
Time is from the start of the process to its end, so imports and start-up count for all alike.
A full run writes docs/benchmarks/ingest.md and ingest.json; one with --only prints alone.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

# Contenders run in processes of their own, which shall not load what only the others need:
# libraries are imported where they are used.

ROOT = Path(__file__).resolve().parents[1]
REPORT = ROOT / "docs" / "benchmarks" / "ingest.md"
DIM = 512
BATCH_ROWS = 20_000
SAMPLE_SECONDS = 0.05
LOOK_SECONDS = 0.5  # between looks for child processes and at the disk
GUIDE, LIMIT = "guide", "limit"
_RSS = ("RssAnon", "RssShmem", "VmRSS")  # as /proc/PID/status names them
PACKAGES = ("chdb-core", "clickhouse-connect", "numpy", "pandas", "pyarrow", "lancedb", "duckdb")

# The table of the ClickHouse LAION guide.
GUIDE_TABLE = """
CREATE TABLE laion
(
    id Int64, url String, caption String, NSFW String, similarity Float32,
    image_embedding Array(Float32), text_embedding Array(Float32)
)
ENGINE = MergeTree ORDER BY id SETTINGS index_granularity = 8192
"""


@dataclass(frozen=True)
class ShardFiles:
    """One shard in LAION's layout."""

    folder: Path

    @property
    def image(self) -> Path:
        return self.folder / "img_emb" / "img_emb_0.npy"

    @property
    def text(self) -> Path:
        return self.folder / "text_emb" / "text_emb_0.npy"

    @property
    def metadata(self) -> Path:
        return self.folder / "metadata" / "metadata_0.parquet"


def guide(shard: ShardFiles, work: Path) -> int:
    """The guide's recipe: everything into one dataframe, as text to CSV, from there to the table.

    Embeddings become lists of numbers, quotes in captions blanks, and the index is the id.
    """
    import gc

    import numpy as np
    import pandas as pd

    frame = pd.read_parquet(shard.metadata)[["url", "caption", "NSFW", "similarity"]]
    embeddings = {
        "image_embedding": list(np.load(shard.image)),
        "text_embedding": list(np.load(shard.text)),
    }
    frame = pd.concat(
        [frame, *(pd.DataFrame({name: rows}) for name, rows in embeddings.items())], axis=1
    )
    for name in embeddings:
        frame[name] = frame[name].map(np.ndarray.tolist)
    frame["caption"] = frame["caption"].map(lambda text: text.translate({34: " ", 39: " "}))
    path = work / "0.csv"
    frame.to_csv(path, header=False)
    del frame, embeddings
    gc.collect()  # the guide inserts from another program
    return _chdb(work, GUIDE_TABLE, f"INSERT INTO laion FROM INFILE '{path}' FORMAT CSV")


def npy_join(shard: ShardFiles, work: Path) -> int:
    """ClickHouse reads the three files itself and joins them on their row numbers."""
    embedding = "(SELECT _row_number, array FROM file('{}', Npy, 'array Array(Float32)'))"
    return _chdb(
        work,
        GUIDE_TABLE,
        "INSERT INTO laion SELECT metadata._row_number, url, caption, NSFW, similarity, "
        "image.array, text.array "
        "FROM (SELECT _row_number, url, caption, NSFW, similarity "
        f"FROM file('{shard.metadata}')) AS metadata "
        f"JOIN {embedding.format(shard.image)} AS image "
        "ON metadata._row_number = image._row_number "
        f"JOIN {embedding.format(shard.text)} AS text "
        "ON metadata._row_number = text._row_number",
    )


def npy_paste(shard: ShardFiles, work: Path) -> int:
    """The same by PASTE JOIN, which pairs rows as they come.

    Without preserve_order Parquet comes in any order, and rows are silently paired wrongly.
    """
    embedding = "(SELECT array FROM file('{}', Npy, 'array Array(Float32)'))"
    return _chdb(
        work,
        GUIDE_TABLE,
        "INSERT INTO laion SELECT row, url, caption, NSFW, similarity, image.array, text.array "
        "FROM (SELECT _row_number AS row, url, caption, NSFW, similarity "
        f"FROM file('{shard.metadata}')) AS metadata "
        f"PASTE JOIN {embedding.format(shard.image)} AS image "
        f"PASTE JOIN {embedding.format(shard.text)} AS text "
        "SETTINGS input_format_parquet_preserve_order = 1, max_threads = 1",
    )


def lancedb_load(shard: ShardFiles, work: Path) -> int:
    """LanceDB from a stream of Arrow batches, embeddings as fixed-size lists of float32."""
    import lancedb

    table = lancedb.connect(work / "lance").create_table("laion", arrow_reader(shard))
    return int(table.count_rows())


def duckdb_load(shard: ShardFiles, work: Path) -> int:
    """DuckDB from the same stream, into FLOAT[512] columns."""
    import duckdb

    with duckdb.connect(str(work / "laion.duckdb")) as connection:
        connection.execute(
            "CREATE TABLE laion (id BIGINT, url VARCHAR, caption VARCHAR, NSFW VARCHAR, "
            "similarity FLOAT, license VARCHAR, width INTEGER, height INTEGER, "
            f"image_embedding FLOAT[{DIM}], text_embedding FLOAT[{DIM}])"
        )
        connection.register("rows", arrow_reader(shard))
        connection.execute("INSERT INTO laion SELECT * FROM rows")
        connection.unregister("rows")
        found = connection.execute("SELECT count(*) FROM laion").fetchone()
    return int(found[0]) if found else 0


def limit(shard: ShardFiles, work: Path) -> int:
    """The same bytes, as float32, to one plain file, and on the disk before the end."""
    return _plain_write(shard, work, sync=True)


def limit_unsynced(shard: ShardFiles, work: Path) -> int:
    """The same without waiting for the disk: none of the contenders waits for it either."""
    return _plain_write(shard, work, sync=False)


def _plain_write(shard: ShardFiles, work: Path, sync: bool) -> int:
    import numpy as np

    rows = 0
    with (work / "bytes").open("wb") as stream:
        for path in (shard.image, shard.text):
            stored = np.load(path, mmap_mode="r")
            rows = len(stored)
            for start in range(0, rows, BATCH_ROWS):
                stream.write(stored[start : start + BATCH_ROWS].astype(np.float32).data)
        stream.write(shard.metadata.read_bytes())
        stream.flush()
        if sync:
            os.fsync(stream.fileno())
    return rows


def arrow_reader(shard: ShardFiles) -> Any:
    """The shard as a pyarrow.RecordBatchReader: id, metadata, both embeddings as float32[512]."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    image, text = np.load(shard.image, mmap_mode="r"), np.load(shard.text, mmap_mode="r")
    names = ["url", "caption", "NSFW", "similarity", "LICENSE", "width", "height"]
    parquet = pq.ParquetFile(shard.metadata)
    vector = pa.list_(pa.float32(), DIM)
    kept = [parquet.schema_arrow.field(name) for name in names]
    schema = pa.schema(
        [("id", pa.int64()), *kept, ("image_embedding", vector), ("text_embedding", vector)]
    )

    def lists(rows: Any) -> Any:
        return pa.FixedSizeListArray.from_arrays(pa.array(rows.astype("f4").reshape(-1)), DIM)

    def batches() -> Iterator[Any]:
        start = 0
        for part in parquet.iter_batches(BATCH_ROWS, columns=names):
            rows = slice(start, start + part.num_rows)
            ids = pa.array(np.arange(rows.start, rows.stop, dtype=np.int64))
            columns = [part.column(name) for name in names]
            yield pa.record_batch(
                [ids, *columns, lists(image[rows]), lists(text[rows])], schema=schema
            )
            start = rows.stop

    return pa.RecordBatchReader.from_batches(schema, batches())


def _chdb(work: Path, *statements: str) -> int:
    session: Any = import_module("chdb.session").Session(str(work / "chdb"))  # untyped
    for statement in statements:
        session.query(statement)
    count = int(str(session.query("SELECT count() FROM laion")))
    session.close()
    return count


@dataclass(frozen=True)
class Contender:
    """``run`` loads a shard in a process of its own; without it, it is the cliphouse command."""

    name: str
    label: str
    run: Callable[[ShardFiles, Path], int] | None = None
    options: tuple[str, ...] = ()

    def command(self, shard: ShardFiles, work: Path) -> list[str]:
        if self.run is not None:
            return [sys.executable, __file__, "--contender", self.name, str(shard.folder)]
        database = str(work / "laion.chdb")
        command = [sys.executable, "-m", "cliphouse", "ingest", str(shard.folder)]
        return [*command, "--db", database, "--json", *self.options]

    def loaded(self, output: str) -> int:
        """How many rows it says are in the table."""
        said = json.loads(output)
        return int(said["rows"] if self.run else sum(load["inserted"] for load in said["loads"]))


CONTENDERS = {
    contender.name: contender
    for contender in (
        Contender("cliphouse", "cliphouse"),
        Contender(
            "cliphouse-bf16",
            "cliphouse --precision bfloat16",
            options=("--precision", "bfloat16"),
        ),
        Contender(GUIDE, "the guide: pandas, CSV, INSERT FROM INFILE", guide),
        Contender("npy", "ClickHouse: file(Npy) joined on row number", npy_join),
        Contender("npy-paste", "ClickHouse: file(Npy), PASTE JOIN in order", npy_paste),
        Contender("lancedb", "LanceDB", lancedb_load),
        Contender("duckdb", "DuckDB, FLOAT[512]", duckdb_load),
        Contender(LIMIT, "limit: the same bytes, numpy and fsync", limit),
        Contender("limit-unsynced", "the same without fsync", limit_unsynced),
    )
}


@dataclass(frozen=True)
class Run:
    """One load. ``memory`` counts the pages of the process tree that no file backs, at its peak;
    ``resident`` those of mapped files too; ``disk`` is the folder at the end, ``disk_peak`` the
    largest it was seen. All in bytes.
    """

    contender: str
    rows: int
    seconds: float
    memory: int
    resident: int
    disk: int
    disk_peak: int
    load_before: float


@dataclass
class Watch:
    """Samples a process tree, and its folder if there is one, in a thread until it is told to
    stop."""

    pid: int
    folder: Path | None
    memory: int = 0
    resident: int = 0
    disk: int = 0
    _over: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        tree, next_look = [self.pid], 0.0
        while not self._over.wait(SAMPLE_SECONDS):
            if time.monotonic() >= next_look:
                # Looking for new processes reads all of /proc: too dear for every sample.
                tree = process_tree(self.pid)
                if self.folder is not None:
                    self.disk = max(self.disk, disk_used(self.folder))
                next_look = time.monotonic() + LOOK_SECONDS
            size = tree_memory([process_memory(pid) for pid in tree])
            self.memory = max(self.memory, size.own)
            self.resident = max(self.resident, size.resident)

    def stop(self) -> None:
        self._over.set()


def process_tree(pid: int) -> list[int]:
    """A process and its descendants."""
    import psutil

    try:
        return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
    except psutil.Error:
        return [pid]


@dataclass(frozen=True)
class Memory:
    """Bytes of a process: ``own`` without, ``resident`` with the pages of mapped files. ``shared``
    are those of both that other processes may have too, as the workers of a server do."""

    own: int = 0
    resident: int = 0
    shared: int = 0


def process_memory(pid: int) -> Memory:
    """Nothing where it has ended.

    Linux counts both all the time. The "unique set" that other systems offer instead walks every
    page, which slows down what is measured, and counts file pages only one process has mapped.
    """
    import psutil

    try:
        if sys.platform != "linux":
            full = psutil.Process(pid).memory_full_info()
            return Memory(full.uss, full.rss)
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (psutil.Error, OSError):
        return Memory()
    fields = dict(line.split(":", 1) for line in lines)
    size = {name: int(fields[name].split()[0]) * 1024 for name in _RSS if name in fields}
    shared = size.get("RssShmem", 0)
    return Memory(size.get("RssAnon", 0) + shared, size.get("VmRSS", 0), shared)


def tree_memory(sizes: Sequence[Memory]) -> Memory:
    """The processes together. Shared pages count once: those of the process that has most."""
    shared = max((size.shared for size in sizes), default=0)
    twice = sum(size.shared for size in sizes) - shared
    own, resident = sum(size.own for size in sizes), sum(size.resident for size in sizes)
    return Memory(own - twice, resident - twice, shared)


def disk_used(folder: Path) -> int:
    """Bytes allocated below ``folder``, a file with several names once."""
    seen: dict[int, int] = {}
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                found = Path(parent, name).lstat()
            except OSError:
                continue  # a part that has been merged away
            seen[found.st_ino] = found.st_blocks * 512
    return sum(seen.values())


def measure(contender: Contender, shard: ShardFiles, rows: int, base: Path) -> Run:
    """One load in a fresh process, whose folder is removed afterwards.

    Raises SystemExit where it fails or does not load every row.
    """
    work = Path(tempfile.mkdtemp(prefix=f"{contender.name}-", dir=base))
    (work / "tmp").mkdir()
    os.sync()  # what the last one left for the disk shall not be paid for by this one
    load_before = os.getloadavg()[0]
    environment = os.environ | {"TMPDIR": str(work / "tmp"), "PYTHONHASHSEED": "0"}
    errors = base / "stderr"
    with errors.open("wb") as stderr:
        started = time.perf_counter()
        process = subprocess.Popen(
            contender.command(shard, work),
            cwd=work,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
        watch = Watch(process.pid, work)
        thread = threading.Thread(target=watch.run, daemon=True)
        thread.start()
        output, _ = process.communicate()
        seconds = time.perf_counter() - started
        watch.stop()
        thread.join()
    if process.returncode:
        raise SystemExit(f"{contender.name} failed:\n{errors.read_text()[-2000:]}")
    loaded = contender.loaded(output.strip().splitlines()[-1] if contender.run else output)
    if loaded != rows:
        raise SystemExit(f"{contender.name} loaded {loaded:,} rows of {rows:,}")
    disk = disk_used(work)
    shutil.rmtree(work)
    return Run(
        contender.name,
        rows,
        seconds,
        watch.memory,
        watch.resident,
        disk,
        max(disk, watch.disk),
        load_before,
    )


def warm(shard: ShardFiles) -> None:
    """Read the files once, so that all contenders find them in the page cache."""
    for path in (shard.image, shard.text, shard.metadata):
        with path.open("rb") as stream:
            while stream.read(2**24):
                pass


def make_shard(folder: Path, rows: int) -> ShardFiles:
    from clip_like import write_shard

    write_shard(folder, 0, rows)
    shard = ShardFiles(folder)
    warm(shard)
    return shard


@dataclass(frozen=True)
class Summary:
    """The runs of one contender in one line: medians, and the range of seconds."""

    contender: str
    label: str
    rows: int
    seconds: float
    fastest: float
    slowest: float
    memory: int
    resident: int
    disk: int
    disk_peak: int

    @property
    def rate(self) -> float:
        return self.rows / self.seconds

    @classmethod
    def of(cls, runs: Sequence[Run]) -> Summary:
        times = [run.seconds for run in runs]
        first = runs[0]
        return cls(
            first.contender,
            CONTENDERS[first.contender].label,
            first.rows,
            statistics.median(times),
            min(times),
            max(times),
            max(run.memory for run in runs),
            max(run.resident for run in runs),
            max(run.disk for run in runs),
            max(run.disk_peak for run in runs),
        )


@dataclass(frozen=True)
class Machine:
    """What the numbers were measured on."""

    cpu: str
    cores: int
    memory_gib: float
    system: str
    python: str
    packages: dict[str, str]

    @classmethod
    def here(cls, names: Sequence[str] = PACKAGES) -> Machine:
        """This one, with the versions of the packages of those names."""
        import psutil

        packages = {}
        for name in names:
            try:
                packages[name] = version(name)
            except PackageNotFoundError:
                continue
        return cls(
            _cpu_model(),
            os.cpu_count() or 1,
            round(psutil.virtual_memory().total / 2**30, 1),
            f"{platform.system()} {platform.release()}",
            platform.python_version(),
            packages,
        )

    def in_words(self) -> str:
        """The machine and the packages in one line."""
        packages = ", ".join(f"{name} {number}" for name, number in self.packages.items())
        return (
            f"{self.cpu}, {self.cores} cores, {self.memory_gib} GiB, Python {self.python}, "
            f"{packages}"
        )


def _cpu_model() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def table_rows(summaries: Sequence[Summary]) -> list[list[str]]:
    """The summaries as cells, with ratios to the guide and to the limit where those have run."""
    rates = {summary.contender: summary.rate for summary in summaries}
    rows = []
    for summary in summaries:
        guide_rate, limit_rate = rates.get(GUIDE), rates.get(LIMIT)
        rows.append(
            [
                summary.label,
                f"{summary.rate:,.0f}",
                f"{summary.rate / guide_rate:,.1f} x" if guide_rate else "",
                f"{summary.rate / limit_rate:.0%}" if limit_rate else "",
                f"{summary.seconds:.2f} ({summary.fastest:.2f}-{summary.slowest:.2f})",
                _megabytes(summary.memory),
                _megabytes(summary.resident),
                _megabytes(summary.disk),
                _megabytes(summary.disk_peak),
            ]
        )
    return rows


HEADINGS = (
    "", "rows/s", "of the guide", "of the limit", "seconds (range)", "memory, MB",
    "with mapped files, MB", "disk, MB", "disk at most, MB",
)  # fmt: skip


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.0f}"


def markdown(
    machine: Machine, summaries: Sequence[Summary], large: Sequence[Summary], runs: Sequence[Run]
) -> str:
    rows = summaries[0].rows
    cells = [list(HEADINGS), ["---"] + ["---:"] * (len(HEADINGS) - 1), *table_rows(summaries)]
    lines = [
        "# Ingest",
        "",
        "Generated by `make bench-ingest`; changes made by hand are lost.",
        "",
        f"One shard of {rows:,} rows with image and text embeddings of {DIM} dimensions "
        "(float16) and metadata of LAION's lengths, in the page cache, into an empty table. Every "
        "line is a fresh process, from its start to its end.",
        "",
        *(f"| {' | '.join(row)} |" for row in cells),
        "",
        f"Runs, taken in turn: {max(1, len(runs) // max(1, len(summaries)))}; rows/s and seconds "
        "are their medians, memory and disk "
        "the largest of them. Memory is that of the whole process tree, sampled every "
        f"{SAMPLE_SECONDS * 1000:.0f} ms, without the pages of mapped files, which the system "
        "takes back when it needs them; the next column counts them too. Disk is what is there at "
        "the end, then the most that was seen on the way. The limit writes the rows as float32 "
        "(as the table keeps them) to one plain file and waits for the disk; nothing else here "
        "waits for it, so the last line is the stricter comparison.",
        "",
        *_large_lines(summaries, large),
        f"Machine: {machine.cpu}, {machine.cores} cores, {machine.memory_gib} GiB, "
        f"{machine.system}, Python {machine.python}; "
        f"{', '.join(f'{name} {number}' for name, number in machine.packages.items())}. "
        "Load average before the runs: "
        f"{min(run.load_before for run in runs):.1f} to {max(run.load_before for run in runs):.1f} "
        "(the benchmark's own runs count in it).",
    ]
    return "\n".join(lines) + "\n"


def _large_lines(summaries: Sequence[Summary], large: Sequence[Summary]) -> list[str]:
    if not large:
        return []
    memory = {summary.contender: summary.memory for summary in summaries}
    limit_rate = next((summary.rate for summary in large if summary.contender == LIMIT), 0.0)
    cells = [
        [
            f"{large[0].rows:,} rows",
            "rows/s",
            "of the limit",
            "memory, MB",
            f"of that at {summaries[0].rows:,} rows",
            "disk, MB",
            "disk at most, MB",
        ],
        ["---"] + ["---:"] * 6,
    ]
    for summary in large:
        cells.append(
            [
                summary.label,
                f"{summary.rate:,.0f}",
                f"{summary.rate / limit_rate:.0%}" if limit_rate else "",
                _megabytes(summary.memory),
                f"{summary.memory / memory[summary.contender]:.2f} x",
                _megabytes(summary.disk),
                _megabytes(summary.disk_peak),
            ]
        )
    return ["A larger shard, once:", "", *(f"| {' | '.join(row)} |" for row in cells), ""]


def print_table(title: str, summaries: Sequence[Summary]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title)
    for heading in HEADINGS:
        table.add_column(heading, justify="right" if heading else "left")
    for row in table_rows(summaries):
        table.add_row(*row)
    Console(width=None if sys.stdout.isatty() else 150).print(table)


def compare(options: argparse.Namespace, base: Path) -> None:
    """Measure, print, and after a full run write the report."""
    chosen = [CONTENDERS[name] for name in options.only or CONTENDERS]
    runs: list[Run] = []
    shard = make_shard(base / "shard", options.rows)
    for turn in range(options.repeat):
        for contender in chosen:
            print(f"{turn + 1}/{options.repeat} {contender.label} ...", end=" ", flush=True)
            runs.append(measure(contender, shard, options.rows, base))
            print(f"{runs[-1].seconds:.2f} s", flush=True)
    shutil.rmtree(shard.folder)
    summaries = [Summary.of([run for run in runs if run.contender == c.name]) for c in chosen]
    print_table(f"{options.rows:,} rows", summaries)
    large_runs: list[Run] = []
    if options.rows_large:
        shard = make_shard(base / "large", options.rows_large)
        bounded = [c for c in chosen if c.run is None or c.name == LIMIT]
        large_runs = [measure(c, shard, options.rows_large, base) for c in bounded]
        print_table(f"{options.rows_large:,} rows", [Summary.of([run]) for run in large_runs])
    if not options.only:
        write_report(summaries, runs, large_runs)


def write_report(
    summaries: Sequence[Summary], runs: Sequence[Run], large_runs: Sequence[Run]
) -> None:
    machine = Machine.here()
    large = [Summary.of([run]) for run in large_runs]
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    REPORT.write_text(markdown(machine, summaries, large, runs))
    values = {"machine": asdict(machine), "runs": [asdict(run) for run in [*runs, *large_runs]]}
    REPORT.with_suffix(".json").write_text(json.dumps(values, indent=1) + "\n")
    print(f"written: {REPORT}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Ingest, side by side.")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=CONTENDERS, metavar="NAME")
    parser.add_argument(
        "--rows-large", type=int, default=0, help="cliphouse and the limit once more"
    )
    parser.add_argument("--dir", type=Path, help="where to work; needs 5 kB a row, twice")
    parser.add_argument("--contender", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contender:
        name, folder = options.contender
        run = CONTENDERS[name].run
        assert run is not None
        print(json.dumps({"rows": run(ShardFiles(Path(folder)), Path.cwd())}))
        return
    with tempfile.TemporaryDirectory(prefix="bench-ingest-", dir=options.dir) as base:
        compare(options, Path(base).resolve())


if __name__ == "__main__":
    main()
