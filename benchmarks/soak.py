"""Several processes search a database while one loads into it: no error, no row lost or doubled?

    python benchmarks/soak.py [--seconds N] [--searchers N] [--without-service]

`cliphouse serve` has the database, the searchers open it as any program does, and shards are loaded
one after another by `cliphouse ingest`. Without a service, each process waits for its turn. What
searches find is compared with the shards' own vectors, and the ids in the end with the shards' own.
It exits with 1 if anything was not as it should be.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

import cliphouse
from cliphouse.errors import CliphouseError

DIM = 64
K = 10
_ID_BITS = 32
_SAME = 1e-3  # of scores: vectors of 16 bits are compared


@dataclass(frozen=True)
class Plan:
    """What is done: ``shards`` of ``rows`` rows are loaded, the first of them before the rest, by
    commands that begin with ``python``."""

    folder: Path
    seconds: float = 120.0
    searchers: int = 8
    shards: int = 60
    rows: int = 2000
    with_service: bool = True
    python: tuple[str, ...] = (sys.executable,)

    @property
    def db(self) -> Path:
        return self.folder / "laion.chdb"

    @property
    def files(self) -> Path:
        return self.folder / "shards"


@dataclass
class Outcome:
    """What has come of it. ``problems`` are lines, one for each thing that was not right."""

    searches: int = 0
    loads: int = 0
    rows: int = 0
    lost: int = 0
    doubled: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        return not (self.problems or self.lost or self.doubled)

    def __str__(self) -> str:
        return (
            f"{self.searches:,} searches, {self.loads:,} loads, {self.rows:,} rows: "
            f"{len(self.problems)} errors, {self.lost} rows lost, {self.doubled} doubled"
        )


@cache
def vectors_of(shard: int, rows: int) -> NDArray[np.float32]:
    """The image embeddings of a shard, which searchers know without reading its file."""
    made = np.random.default_rng(shard).standard_normal((rows, DIM))
    unit: NDArray[np.float64] = made / np.linalg.norm(made, axis=1, keepdims=True)
    return unit.astype(np.float16).astype(np.float32)


def write_shards(plan: Plan) -> None:
    for part in ("img_emb", "metadata"):
        (plan.files / part).mkdir(parents=True, exist_ok=True)
    for shard in range(plan.shards):
        vectors = vectors_of(shard, plan.rows).astype(np.float16)
        np.save(plan.files / "img_emb" / f"img_emb_{shard}.npy", vectors)
        names = [f"{shard}/{row}" for row in range(plan.rows)]
        pq.write_table(
            pa.table({"caption": names, "url": names}),
            plan.files / "metadata" / f"metadata_{shard}.parquet",
        )


def soak(plan: Plan) -> Outcome:
    """Do what the plan says, and count."""
    write_shards(plan)
    outcome = Outcome()
    _ingest(plan, outcome, 0)
    with _service(plan):
        me = [*plan.python, __file__, "--search", str(plan.db), str(plan.rows), str(plan.shards)]
        searchers = [
            subprocess.Popen(
                [*me, str(plan.seconds), str(number)], stdout=subprocess.PIPE, env=_environment()
            )
            for number in range(plan.searchers)
        ]
        _load_until(plan, outcome, time.monotonic() + plan.seconds)
        for searcher in searchers:
            told = json.loads(searcher.communicate()[0])
            outcome.searches += told["searches"]
            outcome.problems += told["problems"]
    _compare(plan, outcome)
    return outcome


def _load_until(plan: Plan, outcome: Outcome, end: float) -> None:
    """Load shard after shard, and all of them again from time to time, which inserts nothing."""
    last = 0
    while time.monotonic() < end or last < 1:
        last = min(last + 1, plan.shards - 1)
        _ingest(plan, outcome, last)


def _ingest(plan: Plan, outcome: Outcome, last: int) -> None:
    command = [*plan.python, "-m", "cliphouse", "ingest", str(plan.files)]
    command += ["--shards", f"0-{last}", "--db", str(plan.db), "--wait", "600"]
    done = subprocess.run(command, capture_output=True, text=True, env=_environment(), check=False)
    outcome.loads += 1
    outcome.rows = (last + 1) * plan.rows
    if done.returncode:
        outcome.problems.append(f"ingest of 0-{last}: {done.returncode}: {done.stderr.strip()}")


def _compare(plan: Plan, outcome: Outcome) -> None:
    """The ids of the table with those of the shards that were loaded."""
    with cliphouse.open(plan.db) as table:
        found = table.sql("SELECT id FROM laion").column("id").to_numpy()
    shards = outcome.rows // plan.rows
    expected = {(shard << _ID_BITS) + row for shard in range(shards) for row in range(plan.rows)}
    outcome.lost = len(expected - set(found.tolist()))
    outcome.doubled = len(found) - len(set(found.tolist()))
    outcome.problems += [f"a row that no shard has: {n}" for n in set(found.tolist()) - expected]


@contextmanager
def _service(plan: Plan) -> Iterator[None]:
    if not plan.with_service:
        yield
        return
    command = [*plan.python, "-m", "cliphouse", "serve", "--port", "0", "--db", str(plan.db)]
    with (plan.folder / "serve.log").open("w") as log:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, text=True, env=_environment()
        )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert re.match("cliphouse serves", line), (plan.folder / "serve.log").read_text()
        yield
    finally:
        process.terminate()
        process.communicate(timeout=60)


def _environment() -> dict[str, str]:
    return os.environ | {"PYTHONUNBUFFERED": "1", "OPENBLAS_NUM_THREADS": "1"}


def search(db: str, rows: int, shards: int, seconds: float, seed: int) -> dict[str, object]:
    """Search until the time is over; what a searcher has counted."""
    rng, end = np.random.default_rng(seed), time.monotonic() + seconds
    known = vectors_of(0, rows)
    searches, problems, before = 0, list[str](), 0
    while time.monotonic() < end or not searches:
        row = int(rng.integers(rows))
        try:
            with cliphouse.open(db, wait=600) as table:
                for _ in range(int(rng.integers(1, 8))):
                    hits = table.search(known[row], K)
                    problems += _wrong(row, known[row], hits, rows, shards)
                    searches += 1
                count = table.sql("SELECT count() AS n FROM laion").column("n")[0].as_py()
        except CliphouseError as error:
            problems.append(f"searcher {seed}: {type(error).__name__}: {error}")
            continue
        if count < before:
            problems.append(f"searcher {seed}: {count} rows, after {before}")
        before = count
    return {"searches": searches, "problems": problems}


def _wrong(
    row: int, vector: NDArray[np.float32], hits: Sequence[cliphouse.Hit], rows: int, shards: int
) -> Iterator[str]:
    """What is wrong with hits: the first is the row itself, and scores are the vectors' own."""
    ids = [hit.id for hit in hits]
    if len(set(ids)) != K or ids[0] != row:
        yield f"row {row} finds {ids}"
    for hit in hits:
        shard, place = hit.id >> _ID_BITS, hit.id & ((1 << _ID_BITS) - 1)
        if not (0 <= shard < shards and place < rows):
            yield f"row {row} finds {hit.id}, which no shard has"
        elif abs(_score(vector, vectors_of(shard, rows)[place]) - hit.score) > _SAME:
            yield f"row {row} finds {hit.id} with the score {hit.score}"


def _score(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=Plan.seconds)
    parser.add_argument("--searchers", type=int, default=Plan.searchers)
    parser.add_argument("--without-service", action="store_true")
    parser.add_argument("--search", nargs=5, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.search:
        db, rows, shards, seconds, seed = given.search
        print(json.dumps(search(db, int(rows), int(shards), float(seconds), int(seed))))
        return 0
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        outcome = soak(
            Plan(
                Path(folder),
                given.seconds,
                given.searchers,
                with_service=not given.without_service,
            )
        )
    print(outcome)
    for problem in outcome.problems[:20]:
        print(problem)
    print(json.dumps(asdict(outcome) | {"problems": len(outcome.problems)}))
    return 0 if outcome.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
