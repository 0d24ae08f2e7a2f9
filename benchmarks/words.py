"""What the indexes of captions give filters by a part of the caption, and what they cost.

    python benchmarks/words.py [--rows N] [--dir DIR] [--no-report]

Captions are loaded with short vectors, so that the captions are what a filter reads. Each filter is
timed without the indexes and with them, in turn, and each time with another word that is as
frequent: the engine remembers which rows met a condition. Then an n-gram index of the addresses is
tried, which cliphouse does not build. A run replaces the figures of its number of rows in
words.json, and writes words.md in docs/benchmarks from all that are there.
"""

from __future__ import annotations

import argparse
import heapq
import json
import os
import re
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from cliphouse.search.filter import Filter
from cliphouse.shards.writer import ShardWriter
from cliphouse.table import Table
from ingest import Machine

REPORT = Path(__file__).resolve().parents[1] / "docs" / "benchmarks" / "words.md"
DIM, BATCH = 16, 50_000
RUN, OTHERS = 4, 4  # words of a caption that follow one another, and others
LETTERS = 6  # of the words that are looked for, at least
OTHER_CASES = re.compile("[ks]")  # letters that the engine's index of words does not know
REPEAT = 7
SHARES = (0.05, 0.01, 0.001, 0.0001, 0.00001)  # of the captions that have the word
HOSTS = 1_000_000  # numbered by how many rows they have: the n-th has a share like 1/n
HOST_NUMBERS = (1, 10, 100, 1_000, 10_000, 100_000)


@dataclass(frozen=True)
class Built:
    """A load without the indexes, and the indexes that were built then."""

    load_seconds: float
    load_processor: float
    seconds: float
    processor: float
    index_bytes: int
    disk: int


@dataclass(frozen=True)
class Timing:
    """Milliseconds of a filter on captions that ``rows`` meet, without or with the indexes, and of
    an exact search with it: the medians of a processor's time, and of the time that passed.
    ``index`` is the one that serves the words."""

    rows: int
    index: str
    is_indexed: bool
    processor: float
    passed: float
    search_processor: float
    search_passed: float


@dataclass(frozen=True)
class AddressIndex:
    """An n-gram index of addresses as it was tried: what it takes, and for each number of rows with
    a host the median milliseconds of a processor, without it and with it."""

    processor: float
    disk: int
    timings: list[tuple[int, float, float]]


class Language:
    """Captions of words that follow one another in the source files of Python's own library, which
    are as unevenly frequent, and as different, as those of a language."""

    def __init__(self) -> None:
        library = Path(os.__file__).parent
        files = (f for f in sorted(library.rglob("*.py")) if "site-packages" not in f.parts)
        texts = (file.read_text(errors="ignore") for file in files)
        self._words = [word for text in texts for word in re.findall(r"[A-Za-z]{2,14}", text)]
        self._counts: Counter[str] = Counter()

    def captions(self, rng: np.random.Generator, rows: int) -> list[str]:
        made = []
        for start, *others in rng.integers(0, len(self._words) - RUN, (rows, 1 + OTHERS)).tolist():
            words = [*self._words[start : start + RUN], *(self._words[at] for at in others)]
            self._counts.update({word.lower() for word in words})
            made.append(" ".join(words))
        return made

    def like(self, rows: float, index: str) -> list[str]:
        """Words that about so many captions have, and that this index serves."""
        long = [
            (abs(n - rows), word)
            for word, n in self._counts.items()
            if len(word) >= LETTERS and serves(index, word)
        ]
        return [word for _, word in heapq.nsmallest(2 * REPEAT, long)]


def serves(index: str, word: str) -> bool:
    return bool(OTHER_CASES.search(word)) == (index == "caption_index")


def make(folder: Path, rows: int, language: Language) -> None:
    rng = np.random.default_rng(2)
    with ShardWriter(folder, 0, DIM) as writer:
        for start in range(0, rows, BATCH):
            count = min(BATCH, rows - start)
            vectors = rng.standard_normal((2, count, DIM), np.float32)
            metadata = {"caption": language.captions(rng, count), "url": addresses(rng, count)}
            writer.append(vectors[0], vectors[1], pa.table(metadata))


def addresses(rng: np.random.Generator, rows: int) -> list[str]:
    """Addresses of pictures on hosts of which a few have many, in no order."""
    hosts = np.exp(rng.random(rows) * np.log(HOSTS)).astype(int).tolist()
    names = rng.integers(0, 2**63, rows).tolist()
    return [
        f"https://{host(n)}/media/{name % 10_000}/{name:x}.jpg"
        for n, name in zip(hosts, names, strict=True)
    ]


def host(number: int) -> str:
    return f"pictures{number * 7919 % 1_000_003:06}.example"


def build(folder: Path, db: Path) -> Built:
    started, processor = time.perf_counter(), time.process_time()
    with Table(db) as table:
        table.ingest(folder)
        loaded, load_processor = time.perf_counter() - started, time.process_time() - processor
        started, processor = time.perf_counter(), time.process_time()
        index = table.index_captions()
        seconds, processor = time.perf_counter() - started, time.process_time() - processor
        disk = table.summary().disk_bytes
    return Built(loaded, load_processor, seconds, processor, index.disk_bytes, disk)


def measure(db: Path, rows: int, language: Language) -> list[Timing]:
    found = []
    with Table(db) as table:
        for index, letters in (("caption_words", "qq"), ("caption_index", "kk")):
            for share in SHARES:
                found += _time(table, language.like(share * rows, index), index)
            nowhere = [f"xx{letters}{n:02}{letters}xx" for n in range(2 * REPEAT)]
            found += _time(table, nowhere, index)
    return found


def _time(table: Table, words: Sequence[str], index: str) -> list[Timing]:
    """The figures without the indexes and with them, each word once."""
    figures: dict[bool, list[tuple[float, ...]]] = {False: [], True: []}
    rows = []
    for number, word in enumerate(words):
        is_indexed = number % 2 == 1
        condition = Filter(caption_contains=word).condition()
        settings = f"SETTINGS use_skip_indexes = {int(is_indexed)}, use_query_condition_cache = 0"
        where = f"FROM {table.name} WHERE {condition.sql}"
        nearest = f"ORDER BY cosineDistance(image_embedding, {[1.0] * DIM}) LIMIT 10"
        rows.append(int(table.connection.command(f"SELECT count() {where}", condition.parameters)))
        taken: list[float] = []
        for sql in (f"SELECT count() {where}", f"SELECT id, caption {where} {nearest}"):
            started, processor = time.perf_counter(), time.process_time()
            table.connection.query(f"{sql} {settings}", condition.parameters)
            taken += [time.process_time() - processor, time.perf_counter() - started]
        figures[is_indexed].append(tuple(taken))
    made = []
    for is_indexed, times in figures.items():
        medians = (statistics.median(column) * 1000 for column in zip(*times, strict=True))
        made.append(Timing(round(statistics.median(rows)), index, is_indexed, *medians))
    print(
        f"  {index}, {made[0].rows:,} rows: {made[0].processor:.1f} and {made[1].processor:.1f} ms",
        flush=True,
    )
    return made


def try_addresses(db: Path) -> AddressIndex:
    """Build an n-gram index of addresses like that of captions, and look for hosts."""
    with Table(db) as table:
        run, name = table.connection.command, table.name
        kind = "ngrambf_v1(4, 1024, 2, 0) GRANULARITY 1"
        started = time.process_time()
        run(f"ALTER TABLE {name} ADD INDEX addresses lowerUTF8(url) TYPE {kind}")
        run(f"ALTER TABLE {name} MATERIALIZE INDEX addresses SETTINGS mutations_sync = 2")
        processor = time.process_time() - started
        size = run(
            "SELECT sum(data_compressed_bytes) FROM system.data_skipping_indices "
            "WHERE name = 'addresses'"
        )
        timings = [_time_host(table, number) for number in HOST_NUMBERS]
    return AddressIndex(processor, int(size), timings)


def _time_host(table: Table, number: int) -> tuple[int, float, float]:
    """The rows that have the host, and the figures without the index and with it."""
    times: dict[int, list[float]] = {0: [], 1: []}
    where = f"FROM {table.name} WHERE lowerUTF8(url) LIKE '%{host(number)}%'"
    for _ in range(REPEAT):
        for use in times:
            settings = f"SETTINGS use_skip_indexes = {use}, use_query_condition_cache = 0"
            started = time.process_time()
            rows = table.connection.command(f"SELECT count() {where} {settings}")
            times[use].append((time.process_time() - started) * 1000)
    return int(rows), statistics.median(times[0]), statistics.median(times[1])


@dataclass(frozen=True)
class Run:
    """All that was measured at a number of rows, as it is kept in words.json."""

    rows: int
    machine: Machine
    load_average: float
    built: Built
    timings: list[Timing]
    addresses: AddressIndex

    @staticmethod
    def from_json(kept: dict[str, Any]) -> Run:
        return Run(
            kept["rows"],
            Machine(**kept["machine"]),
            kept["load_average"],
            Built(**kept["built"]),
            [Timing(**one) for one in kept["timings"]],
            AddressIndex(**kept["addresses"]),
        )


def markdown(runs: Sequence[Run]) -> str:
    lines = [
        "# Words in captions",
        "",
        "Generated by `make bench-words`; changes made by hand are lost.",
        "",
        f"Captions of {RUN + OTHERS} words from the source of Python's own library, and vectors of "
        f"{DIM} dimensions. `cliphouse index captions` builds two indexes: one keeps, for each "
        "granule of 64 rows, a Bloom filter of four letters that follow one another, the other the "
        "rows of each word. If a word is in every granule, all captions are read, as without them.",
        "",
        "For each number of rows: a filter `caption_contains` and an exact search with it, without "
        "the indexes and with them: the median of a processor's milliseconds, and in brackets of "
        "those that passed. `caption_words` serves words without a k or an s, `caption_index` the "
        "others.",
        "",
        "cliphouse builds no index of url. Tried here: an n-gram index like that of captions. The "
        "table has a processor's milliseconds to count the rows of a host, of which a few have "
        "many rows and most have few, in no order.",
        "",
    ]
    for run in runs:
        lines += [*_captions(run), *_addresses(run)]
    return "\n".join(lines)


def _captions(run: Run) -> list[str]:
    built, rows = run.built, run.rows
    lines = [
        f"## {rows:,} rows",
        "",
        "| | |",
        "|---|---:|",
        f"| the indexes on disk | {built.index_bytes / rows:.1f} bytes a row |",
        f"| building them, processor | {built.processor / rows * 1e6:.1f} µs a row |",
        f"| loading the rows, processor | {built.load_processor / rows * 1e6:.1f} µs a row |",
        "",
        "| rows with the word | served by | filter, without | with | search, without | with |",
        "|---:|---|---:|---:|---:|---:|",
    ]
    for without, with_ in zip(run.timings[::2], run.timings[1::2], strict=True):
        pairs = (
            *((one.processor, one.passed) for one in (without, with_)),
            *((one.search_processor, one.search_passed) for one in (without, with_)),
        )
        cells = [f"{processor:.1f} ({passed:.1f})" for processor, passed in pairs]
        lines.append(f"| {without.rows:,} | `{without.index}` | {' | '.join(cells)} |")
    return [*lines, ""]


def _addresses(run: Run) -> list[str]:
    tried, rows = run.addresses, run.rows
    return [
        f"An n-gram index of url takes {tried.disk / rows:.1f} bytes and "
        f"{tried.processor / rows * 1e6:.1f} µs of a processor a row:",
        "",
        "| rows of the host | without | with |",
        "|---:|---:|---:|",
        *(f"| {n:,} | {without:.1f} | {with_:.1f} |" for n, without, with_ in tried.timings),
        "",
        f"Machine: {run.machine.in_words()}. Load average before the run: {run.load_average:.1f}.",
        "",
    ]


def keep(run: Run) -> None:
    """Write the reports, with this run instead of an earlier one of as many rows."""
    kept = REPORT.with_suffix(".json")
    runs = {run.rows: run}
    if kept.exists():
        earlier = [Run.from_json(one) for one in json.loads(kept.read_text())["runs"]]
        runs = {one.rows: one for one in [*earlier, run]}
    ordered = [runs[rows] for rows in sorted(runs)]
    kept.write_text(json.dumps({"runs": [asdict(one) for one in ordered]}, indent=1) + "\n")
    REPORT.write_text(markdown(ordered))
    print(f"written: {REPORT}")


def main() -> None:
    parser = argparse.ArgumentParser(description="What the indexes of captions give and cost.")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dir", type=Path, help="where to work; needs 1 kB a row")
    parser.add_argument("--no-report", action="store_true", help="print only")
    options = parser.parse_args()
    busy = os.getloadavg()[0]
    language = Language()
    with tempfile.TemporaryDirectory(prefix="bench-words-", dir=options.dir) as base:
        folder = Path(base).resolve()
        make(folder / "s", options.rows, language)
        built = build(folder / "s", folder / "words.chdb")
        timings = measure(folder / "words.chdb", options.rows, language)
        tried = try_addresses(folder / "words.chdb")
    run = Run(options.rows, Machine.here(), busy, built, timings, tried)
    print(markdown([run]))
    if not options.no_report:
        keep(run)


if __name__ == "__main__":
    main()
