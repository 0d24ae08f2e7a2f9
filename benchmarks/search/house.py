"""cliphouse, through its Python API: every search fetches ids, urls and captions."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cliphouse
from search.contender import (
    DETAILS,
    HNSW_EF_CONSTRUCTION,
    HNSW_M,
    LADDER,
    Answer,
    Ask,
    Case,
    Contender,
    K,
    Step,
    Vector,
    widths,
)
from search.data import COMMON, CONDITIONS, keep_selected
from search.place import Place

Open = Callable[[Place], AbstractContextManager[Ask]]

_OVERSAMPLING = (4, 10, 20, 50, 100)
_CURVE_EF = 256
_MEASURED_QUERIES = 200
SHOWN = ("url", "caption")


def database(place: Place, name: str) -> Path:
    return place.folder(name) / "laion.chdb"


def build_float32(place: Place) -> None:
    folder = place.fresh("float32")
    with cliphouse.open(folder / "laion.chdb") as table:
        table.ingest(place.shard.folder, precision="float32")


def index_float32(place: Place) -> None:
    spec = cliphouse.IndexSpec(
        "image", quantization="bf16", m=HNSW_M, ef_construction=HNSW_EF_CONSTRUCTION
    )
    with cliphouse.open(database(place, "float32")) as table:
        table.index(spec)


def measure_float32(place: Place) -> None:
    """What tells ``auto`` how to search, and how much wider with a filter. Its queries are rows of
    the table, none of ours."""
    with cliphouse.open(database(place, "float32")) as table:
        table.recall("image", k=(K, 10 * K), queries=_MEASURED_QUERIES, save=True)


def select_rows(place: Place) -> None:
    """The rows each condition selects, asked without a search, and the exact answers in them."""
    with cliphouse.open(database(place, "float32")) as table:
        selected = {
            condition.name: table.sql(f"SELECT id FROM laion WHERE {condition.where} ORDER BY id")
            .column("id")
            .to_numpy()
            for condition in CONDITIONS
        }
    keep_selected(place, selected)


def build_bfloat16(place: Place, name: str = "bfloat16", codes: str = "none") -> None:
    """A table of the shard's images alone, which is all that its searches read."""
    images = place.fresh(name) / "images"
    for path in (place.shard.image, place.shard.metadata):
        linked = images / path.relative_to(place.shard.folder)
        linked.parent.mkdir(parents=True)
        os.link(path, linked)
    options: dict[str, Any] = {} if codes == "none" else {"codes": codes}
    with cliphouse.open(database(place, name)) as table:
        table.ingest(images, precision="bfloat16", **options)


def build_rabitq(place: Place) -> None:
    build_bfloat16(place, "rabitq", "rabitq")


def build_turboquant(place: Place) -> None:
    build_bfloat16(place, "turboquant", "turboquant")


def opener(name: str) -> Open:
    """Opens the database of that name."""

    @contextmanager
    def open_table(place: Place) -> Iterator[Ask]:
        with cliphouse.open(database(place, name)) as table:

            def ask(vector: Vector, case: Case) -> Answer:
                found = table.search(vector, k=K, **_options(case))
                return Answer([hit.id for hit in found], _said(asdict(found.stats)))

            yield ask

    return open_table


def _options(case: Case) -> dict[str, Any]:
    options: dict[str, Any] = {"mode": case.mode, "fields": SHOWN}
    if case.width is not None:
        options["oversampling" if case.mode == "codes" else "ef"] = case.width
    if case.condition is not None:
        options["where"] = case.condition.where
    return options


def _said(stats: dict[str, Any]) -> str:
    """What a result says of how it was found."""
    width = f" {stats['width']}" if stats.get("width") else ""
    recall = f", recall {stats['recall']:.3f}" if stats["recall"] is not None else ""
    filtered = f"; {stats['filtered']}" if stats["filtered"] else ""
    return f"{stats['mode']}{width}{recall}: {stats['reason']}{filtered}"


def _filter_cases() -> tuple[Case, ...]:
    return tuple(
        Case(f"{mode}, {condition.name}", mode=mode, condition=condition)
        for condition in CONDITIONS
        for mode in ("auto", "hnsw")
    )


_FLOAT32 = Step("float32", build_float32)
_FLOAT32_INDEX = Step("float32-index", index_float32)
_FLOAT32_RECALL = Step("float32-recall", measure_float32)
_INDEXED = (*COMMON, _FLOAT32, _FLOAT32_INDEX, _FLOAT32_RECALL)

EXACT_FLOAT32 = Contender(
    "exact-float32",
    "cliphouse exact, Float32",
    DETAILS,
    (*COMMON, _FLOAT32),
    (Case("", mode="exact", on_curve=True),),
    opener("float32"),
)
EXACT_BFLOAT16 = Contender(
    "exact-bfloat16",
    "cliphouse exact, BFloat16",
    DETAILS,
    (*COMMON, Step("bfloat16", build_bfloat16)),
    (Case("", mode="exact", on_curve=True),),
    opener("bfloat16"),
)
RABITQ = Contender(
    "rabitq",
    "cliphouse codes, BFloat16, rabitq",
    DETAILS,
    (*COMMON, Step("rabitq", build_rabitq)),
    widths(_OVERSAMPLING, "oversampling", mode="codes"),
    opener("rabitq"),
)
TURBOQUANT = Contender(
    "turboquant",
    "cliphouse codes, BFloat16, turboquant",
    DETAILS,
    (*COMMON, Step("turboquant", build_turboquant)),
    widths(_OVERSAMPLING, "oversampling", mode="codes"),
    opener("turboquant"),
)
HNSW = Contender(
    "hnsw",
    "cliphouse hnsw, Float32",
    DETAILS,
    _INDEXED,
    widths(LADDER, "ef", on_curve=_CURVE_EF, mode="hnsw"),
    opener("float32"),
)
AUTO = Contender(
    "auto",
    "cliphouse auto, Float32",
    DETAILS,
    _INDEXED,
    (Case("", mode="auto", on_curve=True),),
    opener("float32"),
)
FILTERS = Contender(
    "filters",
    "cliphouse with a filter, Float32",
    DETAILS,
    (*_INDEXED, Step("selected", select_rows)),
    _filter_cases(),
    opener("float32"),
)
