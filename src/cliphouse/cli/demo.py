"""cliphouse demo"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from cliphouse.cli import interrupt, show
from cliphouse.demo import DEFAULT_ROWS, SENTENCES, Demo
from cliphouse.search.methods import method_of
from cliphouse.search.methods.figures import taken_by_auto
from cliphouse.vocabulary import Measured


def command(
    rows: Annotated[int, typer.Option(min=100, help="Number of pictures to draw.")] = DEFAULT_ROWS,
    folder: Annotated[
        Path, typer.Option("--dir", help="Folder for pictures, shards and database.")
    ] = Path("cliphouse-demo"),
) -> None:
    """Draw pictures, then embed, ingest, index and search them. It downloads nothing."""
    interrupt.keep(interrupt.GOES_ON)
    demo = Demo(folder, rows)
    with demo.table:
        _prepare(demo)
        for query in (*SENTENCES, str(demo.query_picture())):
            _search(demo, query)
    show.out.print(
        f"\nLook at the contact sheets in {folder}/, then try your own words:\n"
        f'  cliphouse search "two yellow hearts" --db {demo.database}',
        markup=False,
    )


def _prepare(demo: Demo) -> None:
    with _step("draw") as tell, show.progress("draw", "pictures") as advance:
        tell(f"{demo.draw(advance):,} pictures of shapes into {demo.pictures}/")
    with _step("embed") as tell, show.progress("embed", "pictures") as advance:
        report = demo.embed(advance)
        done = report.new + report.changed
        tell(f"{done:,} pictures and captions into {demo.shards}/, {report.unchanged:,} unchanged")
    with _step("ingest") as tell, show.progress("ingest") as advance:
        tell(f"{demo.ingest(advance).inserted:,} rows into {demo.database}")
    with _step("index") as tell, show.shares("index") as advance_shares:
        built = demo.index(advance_shares)
        tell(f"HNSW over {built.rows:,} rows, {show.size(built.memory_bytes)}")
    with _step("recall") as tell, show.shares("recall") as advance_shares:
        measured = demo.measure(lambda done, total: advance_shares({"": done / total}))
        taken = taken_by_auto([entry for entry in measured if entry.k == 10])
        tell(
            "auto uses " + ", ".join(f"{_way(entry)} for {entry.query} queries" for entry in taken)
        )


def _way(entry: Measured) -> str:
    return f"{method_of(entry.mode).describe(entry.width)} (recall@{entry.k} {entry.recall:.3f})"


def _search(demo: Demo, query: str) -> None:
    found = demo.search(query)
    stats = found.result.stats
    took = f"{stats.encode_ms:.0f} + {stats.search_ms:.0f} ms"
    show.out.print(f"\nsearch {query!r} ({stats.mode}; encode + search {took})", markup=False)
    for hit in found.result:
        show.out.print(f"  {hit.score:.3f}  {show.plain(hit.caption)}", markup=False)
    show.out.print(f"  {found.sheet}", markup=False)


@contextmanager
def _step(name: str) -> Iterator[Callable[[str], None]]:
    """Time a step and print one line for it."""
    started = time.perf_counter()
    said: list[str] = []
    yield said.append
    took = show.seconds(time.perf_counter() - started)
    show.out.print(f"{name:<8} {took:>8}  {' '.join(said)}", markup=False)
