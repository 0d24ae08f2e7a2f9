"""Write the tables and the picture of docs/400-million-5-billion.md.

    python tools/paper.py [--machines FILE] [--check]

Machines and what they cost a month are read from tools/machines.csv, or from a file like it; all
else comes from the plan's formulas and from docs/benchmarks. ``--check`` writes nothing and fails
where the page is not what it would write.
"""

from __future__ import annotations

import argparse
import csv
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cliphouse.cli.plan import duration
from cliphouse.cli.show import size
from cliphouse.planning import costs
from cliphouse.planning import plan as planning
from cliphouse.planning.costs import Collection, Layout, Speeds
from cliphouse.planning.plan import Estimate, Machines
from cliphouse.schema.index_spec import IndexSpec
from cliphouse.shards.reader import BATCH_LIMITS
from paper_data import SIZES, TARGETS, codes_recall, figures, recalls, width_law
from paper_picture import draw_queries

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "400-million-5-billion.md"
PICTURE = ROOT / "docs" / "images" / "400-million-5-billion.png"
MACHINES = ROOT / "tools" / "machines.csv"
SECONDS_A_MONTH = 730 * 3600
SERVER_CACHE = 0.7  # of the memory, for graphs: as deploy/cluster/config.d/memory.xml lets it
LAION_400M = Collection(400_000_000)
LAION_5B = Collection(5_850_000_000, dim=768, modalities=1)
EXACT = Layout("bfloat16")
CODES = Layout("bfloat16", codes="rabitq", label="rabitq")
GRAPH = Layout("bfloat16", index=IndexSpec(), indexed=1, label="hnsw 32/128 image")
_TABLE = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end of table -->)", re.DOTALL)


@dataclass(frozen=True)
class Kind:
    """A kind of machine, and what one is taken to cost a month in US dollars."""

    kind: str
    cores: int
    memory_bytes: int
    disk_bytes: int
    disk_rate: float
    rented: float
    cloud: float


@dataclass(frozen=True)
class Scenario:
    """Machines of one kind for a collection. ``is_embedded``: one process without a server, which
    has the engine's own cache of graphs and loads by itself."""

    name: str
    kind: str
    nodes: int = 1
    replicas: int = 1
    loaders: int = 1
    is_embedded: bool = False

    def machines(self, kind: Kind) -> Machines:
        cache = None if self.is_embedded else int(SERVER_CACHE * kind.memory_bytes)
        return Machines(
            kind.cores, kind.memory_bytes, self.nodes, self.replicas, self.loaders, cache
        )


SCENARIOS = {
    "laion400m": (
        LAION_400M,
        (
            Scenario("embedded, 1 small", "small", is_embedded=True),
            Scenario("embedded, 1 huge", "huge", is_embedded=True),
            Scenario("server, 1 huge", "huge", loaders=4),
            Scenario("cluster, 4 large", "large", nodes=4, loaders=4),
            Scenario("cluster, 8 large, 2 replicas", "large", nodes=8, replicas=2, loaders=8),
        ),
    ),
    "laion5b": (
        LAION_5B,
        (
            Scenario("embedded, 1 huge", "huge", is_embedded=True),
            Scenario("server, 1 huge", "huge", loaders=4),
            Scenario("cluster, 36 large", "large", nodes=36, loaders=36),
            Scenario("cluster, 72 large, 2 replicas", "large", nodes=72, replicas=2, loaders=72),
        ),
    ),
}


def read_kinds(path: Path) -> dict[str, Kind]:
    with path.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    return {
        row["kind"]: Kind(
            row["kind"],
            int(row["cores"]),
            int(float(row["memory_gb"]) * 1e9),
            int(float(row["disk_gb"]) * 1e9),
            float(row["disk_gb_s"]) * 1e9,
            float(row["rented_usd_month"]),
            float(row["cloud_usd_month"]),
        )
        for row in rows
    }


def tables(kinds: dict[str, Kind]) -> dict[str, str]:
    """Every table of the page by its name."""
    made = {name: scenario_table(name, kinds) for name in SCENARIOS}
    return made | {
        "machines": machines_table(kinds),
        "bytes": bytes_table(),
        "measured": measured_table(),
        "widths": widths_table(),
        "recall": recall_table(),
        "nodes": nodes_table(kinds),
    }


def markdown(headings: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """A table whose first ``left`` columns are words and whose others are figures."""
    lines = [headings, ["---"] * left + ["---:"] * (len(headings) - left), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def machines_table(kinds: dict[str, Kind]) -> str:
    headings = ("kind", "cores", "memory", "disk", "it reads", "rented", "cloud")
    rows = [
        [
            kind.kind,
            str(kind.cores),
            size(kind.memory_bytes),
            size(kind.disk_bytes),
            f"{size(kind.disk_rate)}/s",
            dollars(kind.rented),
            dollars(kind.cloud),
        ]
        for kind in kinds.values()
    ]
    return markdown(headings, rows)


def bytes_table() -> str:
    headings = ("bytes a row", "512, image and text", "768, image")
    chosen: dict[str, Callable[[Collection], int]] = {
        "Float32, with metadata": lambda one: costs.table_bytes(Layout("float32"), one),
        "BFloat16, with metadata": lambda one: costs.table_bytes(EXACT, one),
        "of which an exact search reads, BFloat16": lambda one: costs.searched_bytes(EXACT, one),
        "rabitq codes, one modality": lambda one: costs.searched_bytes(CODES, one),
        "HNSW graph 32/128, in memory": lambda one: IndexSpec().memory_bytes(one.rows, one.dim),
        "HNSW graph 32/128, on disk": lambda one: costs.graph_disk_bytes(IndexSpec(), one),
    }
    row_of_each = (Collection(10_000), Collection(10_000, 768, 1))
    rows = [
        [name, *(f"{of(one) / one.rows:,.0f}" for one in row_of_each)]
        for name, of in chosen.items()
    ]
    return markdown(headings, rows)


def measured_table() -> str:
    def shown(value: float, unit: str) -> str:
        return {"s": duration(value), "B": size(value), "/s": f"{value:.0f}"}[unit]

    rows = [
        [
            figure.what,
            f"{figure.rows:,}",
            shown(figure.formula, figure.unit),
            shown(figure.measured, figure.unit),
            f"{figure.ratio:.2f}",
        ]
        for figure in figures()
    ]
    return markdown(("", "rows", "formula", "measured", "ratio"), rows)


def widths_table() -> str:
    points = {
        100_000: "measured",
        1_000_000: "measured",
        LAION_400M.rows // 4: "a shard of four of LAION-400M: 100 x beyond",
        -(-LAION_5B.rows // 36): "a shard of 36 of LAION-5B: 163 x beyond",
        LAION_400M.rows: "400 x beyond",
        LAION_5B.rows: "5,850 x beyond",
    }
    text, image = width_law("text"), width_law("image")

    def one_search(rows: int, ef: int) -> str:
        return duration(costs.query_seconds(GRAPH, Collection(rows), 1, Speeds(), ef))

    rows = [
        [
            f"{count:,}",
            f"{image.at(count):,}",
            one_search(count, image.at(count)),
            f"{text.at(count):,}",
            one_search(count, text.at(count)),
            said,
        ]
        for count, said in points.items()
    ]
    headings = ["rows in a graph"]
    for kind in ("image", "text"):
        headings += [f"ef, {kind} queries at {TARGETS[kind]}", "one search"]
    return markdown([*headings, ""], rows)


def recall_table() -> str:
    kinds = [(kind, rows) for kind in TARGETS for rows in SIZES[1:]]
    columns = [recalls(*one) for one in kinds]
    rows = [[f"{ef:,}", *(f"{column[ef]:.2f}" for column in columns)] for ef in sorted(columns[0])]
    return markdown(("ef", *(f"{kind}, {rows:,} rows" for kind, rows in kinds)), rows, left=0)


def scenario_table(name: str, kinds: dict[str, Kind]) -> str:
    headings = (
        *("machines", "searched", "text recall", "disk", "memory", "load", "index", "query"),
        *("queries/s", "a month, rented / cloud", "a million queries", ""),
    )
    collection, scenarios = SCENARIOS[name]
    rows = [row for scenario in scenarios for row in scenario_rows(collection, scenario, kinds)]
    return markdown(headings, rows, left=2)


def nodes_table(kinds: dict[str, Kind]) -> str:
    """What a node of each scenario has to bear, with its graph."""
    headings = (
        *("collection", "machines", "rows a node", "parts of their own", "disk while indexing"),
        *("graph", "it counts as", "first search, exact", "first search, graph", "inserts"),
    )
    names = {"laion400m": "LAION-400M", "laion5b": "LAION-5B"}
    rows = []
    for name, (collection, scenarios) in SCENARIOS.items():
        for scenario in scenarios:
            kind = kinds[scenario.kind]
            speeds = Speeds().with_disk(kind.disk_rate)
            exact, graph = (
                planning.estimate(one, collection, scenario.machines(kind), speeds)
                for one in (EXACT, GRAPH)
            )
            rows.append(
                [
                    names[name],
                    scenario.name,
                    f"{exact.rows:,}",
                    f"{exact.merged_parts}",
                    size(graph.indexing_disk_bytes),
                    size(graph.graph_bytes),
                    size(graph.graph_cache_bytes),
                    duration(exact.disk_query_seconds),
                    duration(graph.disk_query_seconds) if graph.fits else "",
                    f"{-(-collection.rows // BATCH_LIMITS.rows):,}",
                ]
            )
    return markdown(headings, rows, left=2)


@dataclass(frozen=True)
class Way:
    """A way to keep and search, at a width, and the recall of text queries that it is taken to
    have."""

    name: str
    layout: Layout
    ef: int
    recall: str


def ways(rows: int) -> Iterator[Way]:
    """The ways to search a graph, or a shard, of so many rows."""
    text, image = width_law("text"), width_law("image")
    yield Way("BFloat16, exact", EXACT, costs.PLANNED_EF, "0.99")
    yield Way("rabitq codes", CODES, costs.PLANNED_EF, f"under {codes_recall():.2f}")
    # The width that a million rows would need for what this one finds here.
    alike = image.at(rows) * (text.rows / rows) ** text.exponent
    measured = recalls("text", text.rows)
    least = min(measured)
    recall = f"under {measured[least]:.2f}" if alike <= least else f"over {measured[least]:.2f}"
    yield Way(f"graph, ef {image.at(rows):,}: for image queries", GRAPH, image.at(rows), recall)
    yield Way(f"graph, ef {text.at(rows):,}", GRAPH, text.at(rows), f"{TARGETS['text']}")


def scenario_rows(
    collection: Collection, scenario: Scenario, kinds: dict[str, Kind]
) -> Iterator[list[str]]:
    kind = kinds[scenario.kind]
    machines = scenario.machines(kind)
    speeds = Speeds().with_disk(kind.disk_rate)
    for way in ways(-(-collection.rows // machines.shards)):
        found = planning.estimate(way.layout, collection, machines, speeds, way.ef)
        bytes_ = [size(found.disk_bytes), size(found.memory_bytes + found.cached_bytes)]
        if not found.fits:
            what = [scenario.name, way.layout.name, ""]
            yield [*what, *bytes_, *[""] * 6, obstacle_of(found, kind)]
            return  # wider searches of the same graph neither
        yield [
            scenario.name,
            way.name,
            way.recall,
            *bytes_,
            duration(found.load_seconds),
            duration(found.index_seconds) if way.layout.index else "",
            duration(found.expected_seconds),
            rate(found.queries_per_second),
            both_prices(kind, scenario.nodes),
            both_prices(kind, scenario.nodes * months_for_a_million(found)),
            obstacle_of(found, kind),
        ]


def months_for_a_million(found: Estimate) -> float:
    """How long a million queries take machines that do nothing else and are never idle."""
    return 1e6 / found.queries_per_second / SECONDS_A_MONTH


def both_prices(kind: Kind, times: float) -> str:
    return f"{dollars(kind.rented * times)} / {dollars(kind.cloud * times)}"


def obstacle_of(expected: Estimate, kind: Kind) -> str:
    """What stands in the way, in words."""
    if not expected.fits:
        return "the graph does not fit into memory"
    if expected.indexing_disk_bytes > kind.disk_bytes:
        return "the disk is too small"
    if expected.outgrows_graph_cache:
        return "every search reads the graph: it is larger than the cache"
    if not expected.is_cached:
        return "every search reads from the disk"
    return "candidates come from the disk" if expected.rescores_from_disk else ""


def rate(a_second: float) -> str:
    return f"{a_second:,.0f}" if a_second >= 10 else f"{a_second:.2g}"


def dollars(amount: float) -> str:
    return f"${amount:,.0f}" if amount >= 10 else f"${amount:.2f}"


def filled(page: str, made: dict[str, str]) -> str:
    """The page with the tables put where their names are."""
    return _TABLE.sub(lambda found: found[1] + made[found[2]] + found[3], page)


def main() -> None:
    parser = argparse.ArgumentParser(description="The tables of the page on LAION's sizes.")
    parser.add_argument("--machines", type=Path, default=MACHINES, help="a file like machines.csv")
    parser.add_argument("--check", action="store_true", help="write nothing; fail on a difference")
    options = parser.parse_args()
    before = PAGE.read_text()
    after = filled(before, tables(read_kinds(options.machines)))
    if options.check:
        if before != after:
            raise SystemExit(f"{PAGE.name} is not what the formulas say: python tools/paper.py")
        return
    PAGE.write_text(after)
    draw_queries(PICTURE)
    print(f"written: {PAGE}, {PICTURE}")


if __name__ == "__main__":
    main()
