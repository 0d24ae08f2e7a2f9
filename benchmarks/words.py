"""What the indexes of captions give filters by a part of the caption, and what they cost.

    python benchmarks/words.py [--rows N] [--dir DIR] [--no-report]

Captions are loaded with short vectors, so that the captions are what a filter reads. Each filter is
timed without the indexes and with them, in turn, and each time with another word that is as
frequent: the engine remembers which rows met a condition. A full run writes words.md and words.json
in docs/benchmarks.
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
REPEAT = 9
SHARES = (0.05, 0.01, 0.001, 0.0001, 0.00001)  # of the captions that have the word


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
    """Milliseconds of a filter on captions that ``rows`` meet, without or with the indexes, of an
    exact search with it, and of the same condition typed with ILIKE: the medians of a processor's
    time, and of the time that passed."""

    rows: int
    is_indexed: bool
    processor: float
    passed: float
    search_processor: float
    search_passed: float
    ilike_processor: float
    ilike_passed: float


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

    def like(self, rows: float) -> list[str]:
        """Words that about so many captions have."""
        long = [(abs(n - rows), word) for word, n in self._counts.items() if len(word) >= LETTERS]
        return [word for _, word in heapq.nsmallest(2 * REPEAT, long)]


def make(folder: Path, rows: int, language: Language) -> None:
    rng = np.random.default_rng(2)
    with ShardWriter(folder, 0, DIM) as writer:
        for start in range(0, rows, BATCH):
            count = min(BATCH, rows - start)
            vectors = rng.standard_normal((2, count, DIM), np.float32)
            captions = pa.table({"caption": language.captions(rng, count)})
            writer.append(vectors[0], vectors[1], captions)


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
        for share in SHARES:
            found += _time(table, language.like(share * rows))
        found += _time(table, [f"xxqq{n:02}qqxx" for n in range(2 * REPEAT)])
    return found


def _time(table: Table, words: Sequence[str]) -> list[Timing]:
    """The figures without the indexes and with them, each word once."""
    figures: dict[bool, list[tuple[float, ...]]] = {False: [], True: []}
    rows = []
    for number, word in enumerate(words):
        is_indexed = number % 2 == 1
        filter = Filter(caption_contains=word)
        condition = filter.condition()
        settings = f"SETTINGS use_skip_indexes = {int(is_indexed)}, use_query_condition_cache = 0"
        sql = f"SELECT count() AS n FROM {table.name} WHERE {condition.sql} {settings}"
        where = f"FROM {table.name} WHERE {condition.sql}"
        nearest = f"ORDER BY cosineDistance(image_embedding, {[1.0] * DIM}) LIMIT 10"
        rows.append(int(table.connection.command(f"SELECT count() {where}", condition.parameters)))
        parameters = {**condition.parameters, "typed": f"%{word}%"}
        taken: list[float] = []
        for sql in (
            f"SELECT count() {where}",
            f"SELECT id, caption {where} {nearest}",
            f"SELECT count() FROM {table.name} WHERE caption ILIKE {{typed:String}}",
        ):
            started, processor = time.perf_counter(), time.process_time()
            table.connection.query(f"{sql} {settings}", parameters)
            taken += [time.process_time() - processor, time.perf_counter() - started]
        figures[is_indexed].append(tuple(taken))
    made = []
    for is_indexed, times in figures.items():
        medians = (statistics.median(column) * 1000 for column in zip(*times, strict=True))
        made.append(Timing(round(statistics.median(rows)), is_indexed, *medians))
    print(
        f"  {made[0].rows:,} rows: {made[0].processor:.1f} and {made[1].processor:.1f} ms",
        flush=True,
    )
    return made


def markdown(
    rows: int, built: Built, timings: Sequence[Timing], machine: Machine, busy: float
) -> str:
    lines = [
        "# Words in captions",
        "",
        "Generated by `make bench-words`; changes made by hand are lost.",
        "",
        f"{rows:,} rows with captions of {RUN + OTHERS} words from the source of Python's own "
        f"library, and vectors of {DIM} dimensions. `cliphouse index captions` builds the indexes.",
        "",
        "| | |",
        "|---|---:|",
        f"| the indexes on disk | {built.index_bytes / rows:.1f} bytes a row |",
        f"| building them, processor | {built.processor / rows * 1e6:.1f} µs a row |",
        f"| loading the rows, processor | {built.load_processor / rows * 1e6:.1f} µs a row |",
        "",
        "A filter `caption_contains`, an exact search with it, and `--where` with `caption ILIKE`, "
        "each without the indexes and with them: the median of a processor's milliseconds, and in "
        "brackets of those that passed.",
        "",
        "| rows with the word | filter, without | with | search, without | with | ILIKE, without "
        "| with |",
        "|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for without, with_ in zip(timings[::2], timings[1::2], strict=True):
        pairs = (
            *((one.processor, one.passed) for one in (without, with_)),
            *((one.search_processor, one.search_passed) for one in (without, with_)),
            *((one.ilike_processor, one.ilike_passed) for one in (without, with_)),
        )
        cells = [f"{processor:.1f} ({passed:.1f})" for processor, passed in pairs]
        lines.append(f"| {without.rows:,} | {' | '.join(cells)} |")
    lines += [
        "",
        "One index keeps, for each granule of 64 rows, a Bloom filter of four letters that follow "
        "one another, the other the rows of each word. If a word is in every granule, all captions "
        "are read, as without them.",
        "",
        f"Machine: {machine.in_words()}. Load average before the run: {busy:.1f}.",
        "",
    ]
    return "\n".join(lines)


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
    machine = Machine.here()
    report = markdown(options.rows, built, timings, machine, busy)
    print(report)
    if not options.no_report:
        REPORT.write_text(report)
        values = {"machine": asdict(machine), "load_average": busy, "rows": options.rows}
        values |= {"built": asdict(built), "timings": [asdict(one) for one in timings]}
        REPORT.with_suffix(".json").write_text(json.dumps(values, indent=1) + "\n")
        print(f"written: {REPORT}")


if __name__ == "__main__":
    main()
