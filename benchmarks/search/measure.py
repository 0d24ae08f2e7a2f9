"""Measuring: every contender in turn, each in a process of its own, in rounds."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from ingest import Watch
from search import catalogue
from search.contender import Answer, Ask, Case, Contender, K
from search.data import KINDS, Kind, queries, selected_rows, truth
from search.house import HNSW
from search.parts import Parts
from search.place import Place
from search.prepare import HERE, command

BUDGET_SECONDS = 8.0  # for the queries of one kind; slower contenders are asked fewer
LEAST_QUERIES = 20


@dataclass(frozen=True)
class Timing:
    """One case asked one kind of query in one round. Times are milliseconds a query; ``matching``
    is how many rows meet the filter, ``full`` how many queries got all the rows they could have (K
    or ``matching``), ``said`` what the answers told of themselves, and how often."""

    rows: int
    round: int
    contender: str
    case: str
    kind: Kind
    asked: int
    p50: float
    p95: float
    recall: float
    full: int
    matching: int
    said: dict[str, int]


@dataclass(frozen=True)
class Footprint:
    """The memory of a process that searched, its children included, at its peak: bytes that no file
    backs, and with the pages of mapped files too."""

    rows: int
    round: int
    contender: str
    memory: int
    resident: int


@dataclass(frozen=True)
class Failure:
    """A contender that could not be measured, and its last words."""

    rows: int
    contender: str
    error: str


@dataclass(frozen=True)
class Measurement:
    """All of a run; ``load`` is the machine's load average before each contender."""

    timings: list[Timing] = field(default_factory=list)
    footprints: list[Footprint] = field(default_factory=list)
    parts: list[Parts] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    load: list[float] = field(default_factory=list)

    def write(self, path: Path) -> None:
        new = path.with_suffix(".part")
        new.write_text(json.dumps(asdict(self), indent=1) + "\n")
        new.replace(path)

    @classmethod
    def read(cls, path: Path) -> Measurement:
        values = json.loads(path.read_text())
        return cls(
            [Timing(**entry) for entry in values["timings"]],
            [Footprint(**entry) for entry in values["footprints"]],
            [Parts(**entry) for entry in values["parts"]],
            [Failure(**entry) for entry in values["failures"]],
            values["load"],
        )


def measured_file(base: Path) -> Path:
    return base / "measured.json"


def measure(base: Path, rows: list[int], names: list[str], rounds: int) -> None:
    """Every contender at every size, in rounds, so that drift shows as spread between them; with
    hnsw, the parts of its searches at the sizes ``rows`` too."""
    found = Measurement()
    for number in range(1, rounds + 1):
        for size in catalogue.curve_rows(rows):
            place = Place(base, size)
            for contender in catalogue.contenders_at(size, rows, names):
                print(f"round {number}, {size:,} rows: {contender.label} ...", flush=True)
                found.load.append(os.getloadavg()[0])
                _run(place, contender, number, size not in rows, found)
                found.write(measured_file(base))
            if HNSW.name in names and size in rows:
                print(f"round {number}, {size:,} rows: the parts of one search ...", flush=True)
                _run_parts(place, number, found)
                found.write(measured_file(base))


def _run(
    place: Place, contender: Contender, number: int, curve_only: bool, found: Measurement
) -> None:
    options = ["--contender", contender.name, "--round", str(number)]
    options += ["--curve"] if curve_only else []
    done = _task(place, contender.name, options, found)
    if done is None:
        return
    lines, watch = done
    found.footprints.append(
        Footprint(place.rows, number, contender.name, watch.memory, watch.resident)
    )
    for line in lines:
        timing = Timing(**json.loads(line))
        found.timings.append(timing)
        print(
            f"  {timing.case} {timing.kind}: p50 {timing.p50:.2f} ms, p95 {timing.p95:.2f} ms, "
            f"recall {timing.recall:.3f}, {timing.full} of {timing.asked} full",
            flush=True,
        )


def _run_parts(place: Place, number: int, found: Measurement) -> None:
    done = _task(place, "parts", ["--parts", "--round", str(number)], found)
    if done is None:
        return
    for line in done[0]:
        parts = Parts(**json.loads(line))
        found.parts.append(parts)
        print(
            f"  {parts.case}: encode {parts.encode:.2f} ms, before {parts.before:.2f}, engine "
            f"{parts.engine:.2f}, after {parts.after:.2f}, the whole {parts.whole:.2f}",
            flush=True,
        )


def _task(
    place: Place, name: str, options: list[str], found: Measurement
) -> tuple[list[str], Watch] | None:
    """The lines that a process prints, and its memory; None, and a failure, if it fails."""
    process = subprocess.Popen(
        command(place, *options),
        cwd=HERE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    watch = Watch(process.pid, None)
    thread = threading.Thread(target=watch.run, daemon=True)
    thread.start()
    output, errors = process.communicate()
    watch.stop()
    thread.join()
    if process.returncode:
        last = (errors.strip().splitlines() or ["no message"])[-1]
        found.failures.append(Failure(place.rows, name, last))
        print(f"  failed: {last}", flush=True)
        return None
    return output.splitlines(), watch


def run_contender(place: Place, contender: Contender, number: int, curve_only: bool) -> None:
    """Measure one contender here, and print a line of JSON for each timing. Raises SystemExit where
    it is not prepared: a table without its index would answer all the same."""
    if missing := [step.name for step in contender.steps if step.name not in place.done()]:
        raise SystemExit(f"not prepared: {', '.join(missing)}")
    with contender.open(place) as ask:
        for case in contender.cases_at(curve_only):
            for kind in KINDS:
                timing = time_case(place, contender, ask, case, kind, number)
                print(json.dumps(asdict(timing)), flush=True)


def time_case(
    place: Place, contender: Contender, ask: Ask, case: Case, kind: Kind, number: int
) -> Timing:
    """Warm up, then time one query after another, until all are asked or the time is up."""
    asked = queries(place, kind)
    for vector in asked.warm_up:
        ask(vector, case)
    answers: list[Answer] = []
    times: list[float] = []
    for vector in asked.timed:
        started = time.perf_counter()
        answers.append(ask(vector, case))
        times.append((time.perf_counter() - started) * 1000)
        if sum(times) > BUDGET_SECONDS * 1000 and len(times) >= LEAST_QUERIES:
            break
    exact = truth(place, kind, case.condition)
    matching = place.rows if case.condition is None else selected_rows(place, case.condition)
    return Timing(
        place.rows,
        number,
        contender.name,
        case.name,
        kind,
        len(times),
        statistics.median(times),
        float(np.percentile(times, 95)),
        statistics.fmean(
            _recall(answer.ids, right.tolist())
            for answer, right in zip(answers, exact, strict=False)
        ),
        sum(len(set(answer.ids)) == min(K, matching) for answer in answers),
        matching,
        dict(Counter(answer.said for answer in answers if answer.said)),
    )


def _recall(found: list[int], right: list[int]) -> float:
    """The share of the right ids that were found; 1 where there are none to find."""
    return len(set(found) & set(right)) / len(right) if right else 1.0
