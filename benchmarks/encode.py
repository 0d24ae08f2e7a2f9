"""How fast words and pictures become vectors in SQL, beside the encoder alone and the guide's way.

    python benchmarks/encode.py [--repeat N] [--captions N] [--only tiny|ViT-B/32]

Each model is measured in an embedded database: the first call of encode_text and encode_image, warm
calls, and a batch of captions in one statement; then the encoder alone, in this process; then the
guide's way, a process for every query that loads the model and writes its numbers as text, with
the same model. Times are medians with the smallest and the largest. A run of all models writes
docs/benchmarks/encode.md and encode.json.

ViT-B/32 here has the true layout and size but random weights: speed is all that it is for.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

import clickhouse_connect
import numpy as np

import cliphouse
from cliphouse.models import load_encoder
from cliphouse.pictures.drawn import write_pictures
from cliphouse.pictures.files import open_picture
from vit_files import write_vit

ROOT = Path(__file__).resolve().parents[1]
REPORT = ROOT / "docs" / "benchmarks" / "encode.md"
PACKAGES = ("chdb-core", "clickhouse-connect", "onnxruntime", "tokenizers", "numpy")
WORDS = "a dog and a cat"
FIRST_CALLS = 7

# The guide's way in our own words: a script that loads the model, and answers line by line in the
# engine's text format.
SCRIPT = """\
#!{python}
import sys
from pathlib import Path
from cliphouse.models import load_encoder
from cliphouse.pictures.files import open_picture
encoder = load_encoder({model!r}, {folder!r})
for line in sys.stdin:
    if {kind!r} == "text":
        vector = encoder.encode_text([line.rstrip("\\n")])[0]
    else:
        vector = encoder.encode_image([open_picture(Path(line.strip()))])[0]
    print(vector.tolist(), flush=True)
"""
FUNCTIONS = """\
<functions>{}</functions>
"""
FUNCTION = """
<function>
  <type>executable</type><name>guide_{kind}</name><return_type>Array(Float32)</return_type>
  <argument><type>String</type><name>value</name></argument>
  <format>TabSeparated</format><command>guide_{kind}.py</command>
  <command_read_timeout>1000000</command_read_timeout>
</function>
"""
CONFIG = """\
<clickhouse>
  <user_scripts_path>{folder}/</user_scripts_path>
  <user_defined_executable_functions_config>functions.xml</user_defined_executable_functions_config>
</clickhouse>
"""


@dataclass(frozen=True)
class Timing:
    """Seconds of some runs: the median, the fastest and the slowest."""

    median: float
    fastest: float
    slowest: float
    runs: int

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Timing:
        return cls(statistics.median(seconds), min(seconds), max(seconds), len(seconds))


@dataclass(frozen=True)
class Measured:
    """One model's figures. ``first_call`` is that of a database just opened, which starts the
    encoder; ``sql`` and ``encoder`` are warm calls of one text or picture."""

    model: str
    kind: str
    first_call: Timing
    sql: Timing
    encoder: Timing
    guide: Timing


@dataclass(frozen=True)
class Batch:
    """Captions encoded in one statement and by the encoder alone, in rows/s."""

    model: str
    rows: int
    sql: Timing
    encoder: Timing


def timed(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def captions(rows: int) -> list[str]:
    rng = np.random.default_rng(400)
    text = "a the red blue dog cat on with small house tree of photo and two old street"
    words = text.split()
    return [" ".join(rng.choice(words, 12)) + f" {row}" for row in range(rows)]


def measure(
    model: str, folder: str | None, work: Path, repeat: int, rows: int
) -> tuple[list[Measured], Batch]:
    """All figures of one model, in a fresh database below ``work``."""
    os.chdir(work)
    picture = next(Path("pictures").glob("*.jpg"))
    encoder = load_encoder(model, folder)
    alone: dict[str, Callable[[], object]] = {
        "text": lambda: encoder.encode_text([WORDS]),
        "image": lambda: encoder.encode_image([encoder.shrink(open_picture(picture))]),
    }
    values = {"text": WORDS, "image": str(picture)}
    shutil.rmtree("db", ignore_errors=True)
    Path("db").mkdir()
    first = {kind: first_calls(model, folder, kind, value) for kind, value in values.items()}
    measured: list[tuple[str, Timing, Timing]] = []
    with cliphouse.open("db", model=model, model_dir=folder) as table:
        for kind, value in values.items():
            statement = f"SELECT encode_{kind}({{value:String}}) AS vector"
            parameters = {"value": value}

            def ask(sql: str = statement, given: dict[str, str] = parameters) -> object:
                return table.sql(sql, given)

            ask()
            alone[kind]()
            # In turns, so that what else the machine does falls on both alike.
            pairs = [(timed(ask), timed(alone[kind])) for _ in range(repeat)]
            sql, own = (Timing.of(seconds) for seconds in zip(*pairs, strict=True))
            measured.append((kind, sql, own))
        batch = measure_batch(table, model, captions(rows), encoder.encode_text)
    guide = measure_guide(model, folder, values, work, max(3, repeat // 10))
    figures = [
        Measured(model, kind, first[kind], sql, own, guide[kind]) for kind, sql, own in measured
    ]
    return figures, batch


def first_calls(model: str, folder: str | None, kind: str, value: str) -> Timing:
    """The first call in each of some openings of the database, after one that is not counted."""
    seconds = []
    for _ in range(FIRST_CALLS + 1):
        with cliphouse.open("db", model=model, model_dir=folder) as table:
            call = partial(table.sql, f"SELECT encode_{kind}({{value:String}})", {"value": value})
            seconds.append(timed(call))
    return Timing.of(seconds[1:])


def measure_batch(
    table: cliphouse.Table, model: str, texts: list[str], encode: Callable[[list[str]], object]
) -> Batch:
    table.sql("CREATE TABLE captions (id Int64, caption String) ENGINE = MergeTree ORDER BY id")
    listed = {"texts": texts}
    table.sql(
        "INSERT INTO captions SELECT rowNumberInAllBlocks(), arrayJoin({texts:Array(String)})",
        listed,
    )
    statement = "SELECT sum(length(encode_text(caption))) AS n FROM captions"
    pairs = [(timed(lambda: table.sql(statement)), timed(lambda: encode(texts))) for _ in range(3)]
    sql, own = (Timing.of(seconds) for seconds in zip(*pairs, strict=True))
    return Batch(model, len(texts), sql, own)


def measure_guide(
    model: str, folder: str | None, values: dict[str, str], work: Path, repeat: int
) -> dict[str, Timing]:
    """A process for every query, as the guide's scripts are run."""
    scripts = work / "guide"
    scripts.mkdir(exist_ok=True)
    for kind in values:
        script = scripts / f"guide_{kind}.py"
        names = {"python": sys.executable, "model": model, "folder": folder, "kind": kind}
        script.write_text(SCRIPT.format(**names))
        script.chmod(0o755)
    functions = "".join(FUNCTION.format(kind=kind) for kind in values)
    (scripts / "functions.xml").write_text(FUNCTIONS.format(functions))
    config = scripts / "config.xml"
    config.write_text(CONFIG.format(folder=scripts))
    shutil.rmtree(work / "db", ignore_errors=True)
    client = clickhouse_connect.get_client(
        dsn=f"chdb://{work / 'db'}", chdb_options={"config-file": str(config)}
    )
    found = {}
    for kind, value in values.items():
        statement, given = f"SELECT guide_{kind}({{value:String}})", {"value": value}

        def ask(sql: str = statement, parameters: dict[str, str] = given) -> object:
            return client.query(sql, parameters=parameters)

        found[kind] = Timing.of([timed(ask) for _ in range(repeat)])
    client.close()
    return found


def report(figures: list[Measured], batches: list[Batch], machine: str) -> str:
    """The page."""
    lines = [
        "# Words and pictures to vectors, in SQL",
        "",
        "`make bench-encode`, on " + machine + ". Medians, with the fastest and slowest run in "
        "brackets. ViT-B/32 has its true size and layout and random weights. “The guide's way” is "
        "a process for every query that loads the model each time, with the same model and "
        "encoder; the “encoder” is that of this process, without SQL.",
        "",
        "| model | | first call, ms | warm call, ms | encoder, ms | the guide's way, ms | faster |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for one in figures:
        lines.append(
            f"| {one.model} | {one.kind} | {_ms(one.first_call)} | {_ms(one.sql)} | "
            f"{_ms(one.encoder)} | {_ms(one.guide)} | "
            f"{one.guide.median / one.sql.median:,.0f} x |"
        )
    lines += [
        "",
        "| model | captions in one statement | SQL, rows/s | encoder, rows/s | share |",
        "|---|---:|---:|---:|---:|",
    ]
    for batch in batches:
        lines.append(
            f"| {batch.model} | {batch.rows:,} | {_rate(batch, batch.sql)} | "
            f"{_rate(batch, batch.encoder)} | "
            f"{100 * batch.encoder.median / batch.sql.median:.0f}% |"
        )
    lines += ["", "## Targets", "", "| target | | |", "|---|---|---|"]
    lines += [
        f"| {what} | {value} | {verdict} |" for what, value, verdict in targets(figures, batches)
    ]
    return "\n".join(lines) + "\n"


def targets(figures: list[Measured], batches: list[Batch]) -> list[tuple[str, str, str]]:
    """Each target, what was measured, and whether it was reached."""
    rows = []
    for one in figures:
        extra = (one.sql.median - one.encoder.median) * 1000
        ratio = one.guide.median / one.sql.median
        name = f"{one.model}, {one.kind}"
        rows.append(
            (f"{name}: warm call within 10 ms of the encoder", f"{extra:.1f} ms", extra <= 10)
        )
        rows.append((f"{name}: 50 times the guide's way", f"{ratio:,.0f} x", ratio >= 50))
        if one.model == "tiny" and one.kind == "text":
            first = one.first_call.median * 1000
            rows.append((f"{name}: first call within 400 ms", f"{first:.0f} ms", first <= 400))
    for batch in batches:
        share = 100 * batch.encoder.median / batch.sql.median
        rows.append((f"{batch.model}: batch at 80% of the encoder", f"{share:.0f}%", share >= 80))
    return [(what, value, "reached" if met else "missed") for what, value, met in rows]


def _ms(timing: Timing) -> str:
    return (
        f"{timing.median * 1000:,.1f} ({timing.fastest * 1000:,.1f}-{timing.slowest * 1000:,.1f})"
    )


def _rate(batch: Batch, timing: Timing) -> str:
    rates = [batch.rows / seconds for seconds in (timing.median, timing.slowest, timing.fastest)]
    return f"{rates[0]:,.0f} ({rates[1]:,.0f}-{rates[2]:,.0f})"


def _machine() -> str:
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return (
        f"{os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}, "
        f"{packages}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeat", type=int, default=50, help="warm calls")
    parser.add_argument("--captions", type=int, default=1000, help="rows of the batch")
    parser.add_argument("--only", choices=["tiny", "ViT-B/32"], help="print this model's alone")
    given = parser.parse_args()
    figures: list[Measured] = []
    batches: list[Batch] = []
    with tempfile.TemporaryDirectory() as name:
        work = Path(name).resolve()
        write_pictures(work / "pictures", 1, seed=1)
        for model in [given.only] if given.only else ["tiny", "ViT-B/32"]:
            folder = None
            if model != "tiny":
                folder = str(work / "vit")
                write_vit(Path(folder))
            measured, batch = measure(model, folder, work, given.repeat, given.captions)
            figures += measured
            batches.append(batch)
        os.chdir(ROOT)
    page = report(figures, batches, _machine())
    print(page)
    if not given.only:
        REPORT.write_text(page)
        values = {
            "machine": _machine(),
            "calls": [asdict(one) for one in figures],
            "batches": [asdict(batch) for batch in batches],
        }
        REPORT.with_suffix(".json").write_text(json.dumps(values, indent=1) + "\n")


if __name__ == "__main__":
    main()
