"""How many searches `cliphouse serve` answers, how soon, and what it does with too many.

    python benchmarks/serve.py [--rows N] [--seconds S] [--requests N] [--vit] [--no-report]

A table of CLIP-like vectors with a measured index is served by a process of its own and asked over
HTTP by this one, on the same cores, by words that are all different, by words that are asked again
and by vectors, over 1, 8 and 64 connections; where the time of a request goes; then its memory
before and after many requests, and what becomes of four times as many clients as it takes on. With
--vit the same once more with ViT-B/32 at its true size with random weights. A run without
--no-report writes docs/benchmarks/serve.md and serve.json.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import psutil

import cliphouse
from clip_like import ClipLike, write_shard
from http_load import Outcome, ask
from ingest import Machine, process_memory

REPORT = Path(__file__).resolve().parents[1] / "docs" / "benchmarks" / "serve.md"
PACKAGES = ("chdb-core", "clickhouse-connect", "fastapi", "uvicorn", "onnxruntime", "numpy")
CONNECTIONS = (1, 8, 64)
WORKERS, QUEUE = 4, 64
OVERLOAD = 4
PARTS = {
    "receive": "receive",
    "validate": "validate",
    "encode": "encode",
    "queue": "wait",
    "database": "search",
    "return": "return",
    "write": "write",
    "way": "way",
}
QUERIES = 20_000
REPEATED = 100  # different words of a load that asks for them again and again
# clip-retrieval's README: about 50 ms a text query, which is 20 a second one after the other.
CLIP_RETRIEVAL_RATE = 20
TARGET_RATE, TARGET_P99, TARGET_CROWD = 250, 60.0, 300
COLOURS = ("red", "blue", "green", "yellow", "pink", "black", "white", "orange", "purple", "grey")
THINGS = ("circle", "star", "heart", "square", "cross", "ring", "arrow", "moon", "dog", "cat")


@dataclass(frozen=True)
class Load:
    """One way of asking. Times are in milliseconds. ``service_cpu`` and ``client_cpu`` are the
    processor times of a request, in the service and in the load generator; ``parts`` are the means
    of a request's parts."""

    model: str
    query: str
    connections: int
    rate: float
    p50: float
    p95: float
    p99: float
    errors: int
    service_cpu: float
    client_cpu: float
    parts: dict[str, float]


@dataclass(frozen=True)
class Memory:
    """The service's own bytes, without mapped files, before and after so many requests."""

    model: str
    requests: int
    before: int
    after: int
    errors: int


@dataclass(frozen=True)
class Overload:
    """Clients beyond what is taken on: good answers, refusals (503) and all others, then the
    median of a client alone before and afterwards, in milliseconds."""

    model: str
    clients: int
    good: int
    refused: int
    others: int
    rate: float
    p99: float
    before: float
    afterwards: float


@dataclass
class Figures:
    machine: str
    rows: int
    way: str
    loads: list[Load] = field(default_factory=list)
    memory: list[Memory] = field(default_factory=list)
    overloads: list[Overload] = field(default_factory=list)


@dataclass(frozen=True)
class Running:
    """A service: where it is asked, and its process."""

    url: str
    pid: int


def make_table(folder: Path, rows: int, model: str) -> str:
    """A database of ``rows`` with an index whose recall is measured, made if it is not there yet;
    returns its path."""
    db = folder / f"{model.replace('/', '-')}.chdb"
    if db.exists():
        return str(db)
    if not (folder / "shards").exists():
        write_shard(folder / "shards", 0, rows)
    with cliphouse.open(db, model=model) as table:
        table.ingest(folder / "shards")
        table.index("image", measure=True)
    return str(db)


@contextmanager
def serving(db: str, model_dir: str | None) -> Iterator[Running]:
    """The command, as it is started by anybody."""
    command = [sys.executable, "-m", "cliphouse", "serve", "--db", db, "--port", "0"]
    command += ["--workers", str(WORKERS), "--queue", str(QUEUE)]
    command += ["--model-dir", model_dir] if model_dir else []
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert process.stdout is not None
        match = re.search(r"at (http://\S+)", process.stdout.readline())
        assert match, "the service did not start"
        yield Running(f"{match[1]}/api/search", process.pid)
    finally:
        process.terminate()
        process.wait()


def text_bodies(load: int = 0) -> list[bytes]:
    """Words that differ within a load and from load to load, so that no vector is kept for them."""
    numbers = range(load * QUERIES, (load + 1) * QUERIES)
    return [_body({"words": f"{n} {COLOURS[n % 10]} {THINGS[n // 10 % 10]}s"}) for n in numbers]


def vector_bodies(rows: int) -> list[bytes]:
    """Caption vectors of rows that are not in the table."""
    vectors = ClipLike().vectors(rows, rows + 200).text
    return [_body({"vector": np.round(vector.astype(float), 6).tolist()}) for vector in vectors]


def measure(running: Running, model: str, options: argparse.Namespace, figures: Figures) -> None:
    texts = [text_bodies(load) for load in range(len(CONNECTIONS) + 1)]
    vectors = vector_bodies(options.rows)
    ask(running.url, texts[-1] + vectors, 8, requests=100)  # warm
    loads = [
        *(("text", bodies, n) for bodies, n in zip(texts, CONNECTIONS, strict=False)),
        ("repeated text", texts[-1][:REPEATED], 8),
        *(("vector", vectors, n) for n in CONNECTIONS),
    ]
    for query, bodies, connections in loads:
        before = _cpu(running.pid)
        outcome = ask(running.url, bodies, connections, seconds=options.seconds)
        spent = _cpu(running.pid) - before
        figures.loads.append(_load(model, query, outcome, spent))
        print(figures.loads[-1], flush=True)
    figures.overloads.append(overload(running, model, texts[-1][REPEATED:], options.seconds))
    print(figures.overloads[-1], flush=True)
    if figures.memory:
        return  # it is the service's, whatever the model
    before = process_memory(running.pid).own
    outcome = ask(running.url, texts[-1][REPEATED:] + vectors, 8, requests=options.requests)
    after = process_memory(running.pid).own
    figures.memory.append(Memory(model, options.requests, before, after, outcome.errors))
    print(figures.memory[-1], flush=True)


def overload(running: Running, model: str, bodies: Sequence[bytes], seconds: float) -> Overload:
    before = ask(running.url, bodies, 1, requests=50)
    clients = OVERLOAD * (WORKERS + QUEUE)
    outcome = ask(running.url, bodies, clients, seconds=seconds)
    afterwards = ask(running.url, bodies, 1, requests=50)
    good, refused = outcome.statuses[200], outcome.statuses[503]
    return Overload(
        model,
        clients,
        good,
        refused,
        outcome.statuses.total() - good - refused,
        outcome.rate,
        outcome.percentile(99),
        before.percentile(50),
        afterwards.percentile(50) if not afterwards.errors else float("nan"),
    )


def _load(model: str, query: str, outcome: Outcome, spent: float) -> Load:
    p50, p95, p99 = (outcome.percentile(share) for share in (50, 95, 99))
    asked = outcome.statuses.total()
    return Load(
        *(model, query, outcome.connections, outcome.rate, p50, p95, p99, outcome.errors),
        service_cpu=1000 * spent / asked,
        client_cpu=1000 * outcome.cpu / asked,
        parts=outcome.mean_parts(),
    )


def _cpu(pid: int) -> float:
    """The processor time of a process, in seconds."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def _body(query: dict[str, object]) -> bytes:
    return json.dumps(query | {"k": 10}).encode()


def page(figures: Figures) -> str:
    """The figures as Markdown."""
    lines = [
        "# The service, asked over HTTP",
        "",
        f"`make bench-serve`: {figures.rows:,} CLIP-like rows of 512 dimensions, top 10, "
        f"{figures.way}; {WORKERS} workers, {QUEUE} places in the line. The clients run on the "
        f"same cores. {figures.machine}.",
        "",
        "| model | query | connections | searches/s | p50, ms | p95, ms | p99, ms | errors |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {one.model} | {one.query} | {one.connections} | {one.rate:,.0f} | {one.p50:.1f} | "
        f"{one.p95:.1f} | {one.p99:.1f} | {one.errors} |"
        for one in figures.loads
    ]
    lines += _parts(figures)
    lines += [
        "",
        "## Memory",
        "",
        "| model | requests | before, MB | after, MB | errors |",
        "|---|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {one.model} | {one.requests:,} | {one.before / 1e6:,.0f} | {one.after / 1e6:,.0f} | "
        f"{one.errors} |"
        for one in figures.memory
    ]
    lines += [
        "",
        f"## {OVERLOAD} times as many clients as it takes on",
        "",
        "Clients that ask again at once when they are refused. The last two columns are the median "
        "of a client alone, before and after.",
        "",
        "| model | clients | good | refused, 503 | others | good/s | p99 of good, ms | before, ms "
        "| after, ms |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {one.model} | {one.clients} | {one.good:,} | {one.refused:,} | {one.others} | "
        f"{one.rate:,.0f} | {one.p99:,.0f} | {one.before:.1f} | {one.afterwards:.1f} |"
        for one in figures.overloads
    ]
    return "\n".join([*lines, "", *_targets(figures)]) + "\n"


def _parts(figures: Figures) -> list[str]:
    lines = [
        "",
        "## The parts of a request",
        "",
        "Means in milliseconds, as the answers tell them in `Server-Timing`: receiving the body, "
        "validating it, encoding the query with its wait for the encoder, the wait for a worker, "
        "the search in the worker, its way back to the event loop, and writing the answer. The "
        "rest is the way: sockets, the kernel and the client. The last two columns are processor "
        "times of a request, in all threads of the service and in the load generator.",
        "",
        "| model | query | connections | "
        + " | ".join([*PARTS.values(), "CPU of the service", "CPU of the client"])
        + " |",
        "|---|---|---:|" + "---:|" * (len(PARTS) + 2),
    ]
    for one in figures.loads:
        times = [*(one.parts.get(name, 0.0) for name in PARTS), one.service_cpu, one.client_cpu]
        shown = " | ".join(f"{milliseconds:.2f}" for milliseconds in times)
        lines.append(f"| {one.model} | {one.query} | {one.connections} | {shown} |")
    return lines


def _targets(figures: Figures) -> list[str]:
    lines = ["## Targets", "", "| target | measured | |", "|---|---:|---|"]
    text = next(
        one
        for one in figures.loads
        if (one.model, one.query, one.connections) == ("tiny", "text", 8)
    )
    crowd = next(
        one
        for one in figures.loads
        if (one.model, one.query, one.connections) == ("tiny", "vector", 64)
    )
    memory = figures.memory[0]
    growth = memory.after / memory.before - 1
    errors = sum(one.errors for one in figures.loads) + sum(one.errors for one in figures.memory)
    checks = [
        (
            f"tiny, text, 8 connections: {5 * CLIP_RETRIEVAL_RATE}/s, 5 times clip-retrieval's "
            f"stated {CLIP_RETRIEVAL_RATE}",
            f"{text.rate:,.0f}/s",
            text.rate >= 5 * CLIP_RETRIEVAL_RATE,
        ),
        (f"there, {TARGET_RATE}/s", f"{text.rate:,.0f}/s", text.rate >= TARGET_RATE),
        (f"there, p99 under {TARGET_P99:.0f} ms", f"{text.p99:.0f} ms", text.p99 < TARGET_P99),
        (
            f"tiny, vector, 64 connections: {TARGET_CROWD}/s",
            f"{crowd.rate:,.0f}/s",
            crowd.rate >= TARGET_CROWD,
        ),
        (
            f"memory flat over {memory.requests:,} requests, within 5%",
            f"{growth:+.1%}",
            growth <= 0.05,
        ),
        ("no errors but refusals", f"{errors}", errors == 0),
    ]
    verdicts = {True: "reached", False: "missed"}
    return lines + [f"| {what} | {value} | {verdicts[met]} |" for what, value, met in checks]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each load")
    parser.add_argument("--requests", type=int, default=20_000, help="for the memory")
    parser.add_argument("--vit", action="store_true", help="ViT-B/32 too, with random weights")
    parser.add_argument("--dir", type=Path, help="keep the tables there")
    parser.add_argument("--no-report", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = (options.dir or Path(made)).resolve()
        figures = Figures(_machine(), options.rows, "")
        for model in ("tiny", "ViT-B/32") if options.vit else ("tiny",):
            model_dir = None if model == "tiny" else vit_folder(folder)
            db = make_table(folder, options.rows, model)
            with cliphouse.open(db) as table:
                stats = table.search(ClipLike().vectors(0, 1).text[0]).stats
            figures.way = f"searched by {stats.mode} {stats.width or ''} ({stats.reason})"
            with serving(db, model_dir) as running:
                measure(running, model, options, figures)
    print(page(figures))
    if not options.no_report:
        REPORT.write_text(page(figures))
        values = asdict(figures) | {"load_average": os.getloadavg()[0]}
        REPORT.with_suffix(".json").write_text(json.dumps(values, indent=1) + "\n")


def _machine() -> str:
    here = Machine.here(PACKAGES)
    packages = ", ".join(f"{name} {number}" for name, number in here.packages.items())
    return (
        f"{here.cpu}, {here.cores} cores, {here.memory_gib} GiB, Python {here.python}, {packages}"
    )


def vit_folder(folder: Path) -> str:
    from vit_files import write_vit  # needs onnx

    if not (folder / "vit").exists():
        write_vit(folder / "vit")
    return str(folder / "vit")


if __name__ == "__main__":
    main()
