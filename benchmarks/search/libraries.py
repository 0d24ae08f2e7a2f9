"""Libraries that keep vectors in RAM and return ids: NumPy, FAISS, usearch and Annoy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from clip_like import DIM
from search.contender import (
    HNSW_EF_CONSTRUCTION,
    HNSW_M,
    IDS,
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
from search.data import COMMON, nearest, unit_batches, unit_rows
from search.place import Place

_TREES = 100

# Contenders run in processes of their own, which shall not load what only the others need:
# libraries are imported where they are used.


@contextmanager
def open_numpy(place: Place) -> Iterator[Ask]:
    """The floor: a float32 matrix-vector product, and the best K of it."""
    rows = unit_rows(place)

    def ask(vector: Vector, case: Case) -> Answer:
        return Answer(nearest(rows, vector[None])[0].tolist())

    yield ask


@contextmanager
def open_faiss_flat(place: Place) -> Iterator[Ask]:
    import faiss

    index: Any = faiss.IndexFlatIP(DIM)
    for start, stop in unit_batches(place):
        index.add(unit_rows(place, start, stop))

    def ask(vector: Vector, case: Case) -> Answer:
        return Answer(index.search(vector[None], K)[1][0].tolist())

    yield ask


def build_faiss_hnsw(place: Place) -> None:
    """The graph alone is kept: its vectors are the shard's, and are put back when it is opened."""
    import faiss

    folder = place.fresh("faiss")
    index: Any = faiss.IndexHNSWFlat(DIM, HNSW_M, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = HNSW_EF_CONSTRUCTION
    for start, stop in unit_batches(place):
        index.add(unit_rows(place, start, stop))
    write: Any = faiss.write_index  # its types lack the flags
    write(index, str(folder / "hnsw.faiss"), faiss.IO_FLAG_SKIP_STORAGE)


@contextmanager
def open_faiss_hnsw(place: Place) -> Iterator[Ask]:
    import faiss

    index: Any = faiss.read_index(str(place.folder("faiss") / "hnsw.faiss"))
    vectors: Any = faiss.IndexFlatIP(DIM)
    for start, stop in unit_batches(place):
        vectors.add(unit_rows(place, start, stop))
    index.storage = vectors

    def ask(vector: Vector, case: Case) -> Answer:
        index.hnsw.efSearch = case.width
        return Answer(index.search(vector[None], K)[1][0].tolist())

    yield ask


def build_usearch(place: Place) -> None:
    folder = place.fresh("usearch")
    index = _usearch()
    for start, stop in unit_batches(place):
        index.add(np.arange(start, stop), unit_rows(place, start, stop))
    index.save(str(folder / "hnsw.usearch"))


@contextmanager
def open_usearch(place: Place) -> Iterator[Ask]:
    index = _usearch()
    index.load(str(place.folder("usearch") / "hnsw.usearch"))

    def ask(vector: Vector, case: Case) -> Answer:
        index.expansion_search = case.width
        return Answer(index.search(vector, K).keys.tolist())

    yield ask


def _usearch() -> Any:
    from usearch.index import Index

    return Index(
        ndim=DIM,
        metric="cos",
        dtype="bf16",
        connectivity=HNSW_M,
        expansion_add=HNSW_EF_CONSTRUCTION,
    )


def build_annoy(place: Place) -> None:
    from annoy import AnnoyIndex

    folder = place.fresh("annoy")
    index = AnnoyIndex(DIM, "angular")
    index.set_seed(0)
    index.on_disk_build(str(folder / "trees.annoy"))
    for start, stop in unit_batches(place):
        for number, row in enumerate(unit_rows(place, start, stop), start):
            index.add_item(number, row)
    index.build(_TREES)


@contextmanager
def open_annoy(place: Place) -> Iterator[Ask]:
    from annoy import AnnoyIndex

    index = AnnoyIndex(DIM, "angular")
    index.load(str(place.folder("annoy") / "trees.annoy"))

    def ask(vector: Vector, case: Case) -> Answer:
        return Answer(index.get_nns_by_vector(vector, K))

    yield ask


NUMPY = Contender(
    "numpy",
    "NumPy, float32 product",
    IDS,
    COMMON,
    (Case("", on_curve=True),),
    open_numpy,
)
FAISS_FLAT = Contender("faiss-flat", "FAISS flat", IDS, COMMON, (Case(""),), open_faiss_flat)
FAISS_HNSW = Contender(
    "faiss-hnsw",
    "FAISS HNSW",
    IDS,
    (*COMMON, Step("faiss-hnsw", build_faiss_hnsw)),
    widths(LADDER, "ef"),
    open_faiss_hnsw,
)
USEARCH = Contender(
    "usearch",
    "usearch HNSW, bf16",
    IDS,
    (*COMMON, Step("usearch", build_usearch)),
    widths(LADDER, "ef"),
    open_usearch,
)
ANNOY = Contender(
    "annoy",
    f"Annoy, {_TREES} trees",
    IDS,
    (*COMMON, Step("annoy", build_annoy)),
    (Case(""),),
    open_annoy,
)
