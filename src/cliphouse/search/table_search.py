"""Searching one table again and again: what was read of it is kept from search to search."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cliphouse.errors import TableError
from cliphouse.schema.facts import TableFacts, read_facts
from cliphouse.schema.handle import TableHandle
from cliphouse.search.background import Background, read_background
from cliphouse.search.option import one_of
from cliphouse.search.query.encoders import TableEncoders
from cliphouse.search.query.operand import Operand, Query, one_query
from cliphouse.search.query.reader import QueryReader
from cliphouse.search.query.vector import QueryVector, mean_directions, recognise
from cliphouse.search.request import Request
from cliphouse.search.results import SearchResult
from cliphouse.search.run import Searcher
from cliphouse.vocabulary import MODALITIES, Modality

# How long a search relies on what was read of the table. Of an embedded database this process sees
# each change but merges, which the engine does by itself and which change no result.
_KNOWN_SECONDS = 2.0
_KNOWN_EMBEDDED_SECONDS = 30.0


@dataclass(frozen=True)
class KnownTable:
    """A table, its facts and a searcher of it, as they were read at the time ``read_at`` (monotonic
    seconds) and after so many ``changes`` by this process (None if others can change it too)."""

    table: TableHandle
    facts: TableFacts
    searcher: Searcher
    read_at: float
    changes: int | None

    @classmethod
    def read(cls, table: TableHandle) -> KnownTable:
        """Read the facts of ``table``."""
        read_at, changes = time.monotonic(), table.connection.changes
        facts = read_facts(table)
        return cls(table, facts, Searcher(table, facts), read_at, changes)

    @property
    def holds(self) -> bool:
        """Whether a search may rely on it: it stays right even if others have changed the table."""
        if self.changes != self.table.connection.changes:
            return False
        seconds = _KNOWN_SECONDS if self.changes is None else _KNOWN_EMBEDDED_SECONDS
        return time.monotonic() < self.read_at + seconds


class TableSearch:
    """Searches the table that ``resolve`` returns, with words and pictures encoded by
    ``encoders``."""

    def __init__(self, resolve: Callable[[], TableHandle], encoders: TableEncoders) -> None:
        self._resolve = resolve
        self._encoders = encoders
        self._known: KnownTable | None = None
        self._means: dict[Modality, NDArray[np.float32]] | None = None
        self._backgrounds: dict[Modality, Background] = {}

    def forget(self) -> None:
        """Read the table anew for the next search."""
        self._known = self._means = None
        self._backgrounds = {}

    def known(self, modality: Modality) -> KnownTable:
        """What a search must know of the table, read anew if it may have changed.

        Raises TableError if the table is empty or lacks embeddings of ``modality``.
        """
        one_of("modality", modality, MODALITIES)
        if self._known is None or not self._known.holds:
            self._known = KnownTable.read(self._resolve())
        known = self._known
        if modality not in known.table.info.modalities:
            raise TableError(f"table {known.table.name} has no {modality} embeddings")
        if known.facts.rows == 0:
            name = known.table.name
            raise TableError(f"table {name} is empty; load it with: cliphouse ingest DIR")
        return known

    def search_many(
        self, queries: Sequence[Query | Sequence[Operand]], request: Request, count: bool
    ) -> list[SearchResult]:
        """A result for each query or sum of operands; all words are encoded together. ``count``
        has the rows counted that the engine reads."""
        known = self.known(request.modality)
        table, asked = known.table, [one_query(query) for query in queries]
        started = time.perf_counter()
        reader = QueryReader(table, lambda: self._encoders.of_table(table.name, table.info))
        vectors = [self._recognised(v, table) for v in reader.read(asked, request.modality)]
        encode_ms = (time.perf_counter() - started) * 1000 / max(len(vectors), 1)
        found = [known.searcher.search(vector, request, encode_ms, count) for vector in vectors]
        if not request.weak:
            return found
        background = self._background(known, request.modality)
        return [
            replace(one, stats=replace(one.stats, weak_below=background.weak_below(vector.values)))
            for one, vector in zip(found, vectors, strict=True)
        ]

    def _background(self, known: KnownTable, modality: Modality) -> Background:
        kept = self._backgrounds.get(modality)
        if kept is None or kept.rows != known.facts.rows:
            kept = read_background(known.table, known.facts, modality)
            self._backgrounds[modality] = kept
        return kept

    def _recognised(self, vector: QueryVector, table: TableHandle) -> QueryVector:
        if vector.kind != "vector" or table.info.modalities != MODALITIES:
            return vector
        if self._means is None:
            self._means = mean_directions(table)
        return recognise(vector, self._means)
