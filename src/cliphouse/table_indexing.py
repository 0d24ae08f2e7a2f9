"""The part of a Table that builds indexes and measures their recall."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cliphouse.cluster.placement import insist_on_all_shards
from cliphouse.engine.connection import Connection
from cliphouse.engine.database import AGAIN, GOES_ON
from cliphouse.recall.keep import forget_measured, keep_measured
from cliphouse.schema.handle import TableHandle, open_table
from cliphouse.schema.index_spec import IndexSpec
from cliphouse.schema.info import TableInfo
from cliphouse.search.request import Request
from cliphouse.search.table_search import TableSearch
from cliphouse.table_loading import LoadingTable
from cliphouse.vocabulary import AUTO_KS, BuildProgress, Measured, Metric, Modality, Progress

if TYPE_CHECKING:
    from cliphouse.indexing.build import BuiltIndex
    from cliphouse.indexing.captions import BuiltCaptionIndex
    from cliphouse.planning.build import BuildForecast
    from cliphouse.recall.rounding import RoundingCost


class IndexingTable(LoadingTable):
    """What of a Table builds indexes, and measures what they find."""

    _search: TableSearch

    @property
    def connection(self) -> Connection:
        """The open database. Raises TableError if there is none, or another process has it."""
        return self._database.connection

    @property
    def info(self) -> TableInfo:
        """What the table was made with. Raises TableError if there is no such table."""
        return self.handle.info

    @property
    def handle(self) -> TableHandle:
        """The table as it is now, for the functions of the rooms above.

        On a cluster, no answer leaves out the rows of a shard that is down from then on. Raises
        TableError if there is no such table, or a profile would leave such rows out."""
        self._database.require()
        table = open_table(self.connection, self.name)
        if table.placement.cluster is not None:
            insist_on_all_shards(self.connection)
        return table

    def index(
        self,
        spec: IndexSpec | Modality = "image",
        progress: BuildProgress | None = None,
        measure: bool = False,
        force: bool = False,
    ) -> BuiltIndex:
        """Build an HNSW index (see cliphouse.indexing.build.build_index). ``measure`` measures its
        recall for mode auto; ``force`` builds it even if its graph does not fit into memory."""
        spec = spec if isinstance(spec, IndexSpec) else IndexSpec(spec)
        jobs = self._jobs()
        built = (
            self._build(spec, progress, force)
            if jobs is None
            else jobs.index(spec, force, progress)
        )
        self.refresh()
        if measure:
            self.recall(spec.modality, AUTO_KS, metric=spec.metric, save=True, quick=True)
        return built

    def forecast(self, spec: IndexSpec) -> BuildForecast:
        """What an index will take on this machine. Raises TableError if it cannot be built."""
        self._require_index()
        from cliphouse.planning.build import forecast_here

        return forecast_here(self._search.known(spec.modality).table, spec)

    def index_captions(self, progress: BuildProgress | None = None) -> BuiltCaptionIndex:
        """Build the indexes of captions, for filters (see cliphouse.indexing.captions)."""
        from cliphouse.indexing.captions import build_caption_index

        if (jobs := self._jobs()) is not None:
            return jobs.index_captions(progress)
        with self._database.long_retries(GOES_ON):
            return build_caption_index(self.handle, progress)

    def drop_index(
        self, modality: Modality | Literal["captions"] = "image", metric: Metric = "cosine"
    ) -> bool:
        """Drop an index of embeddings, or those of captions; returns whether there was one."""
        from cliphouse.indexing.build import drop_index

        if (jobs := self._jobs()) is not None:
            return jobs.drop_index(modality, metric)
        dropped = drop_index(self.handle, modality, metric)
        if dropped and modality != "captions":
            forget_measured(self.handle, modality, metric)
        self.refresh()
        return dropped

    def recall(
        self,
        modality: Modality = "image",
        k: int | Sequence[int] = 10,
        queries: int = 200,
        target: float | None = None,
        metric: Metric = "cosine",
        save: bool = False,
        progress: Progress | None = None,
        quick: bool = False,
    ) -> tuple[Measured, ...]:
        """Measure recall@k and latency of every way to search ``modality`` (see
        cliphouse.recall.measure.RecallSpec). ``save`` keeps the figures with the table, for mode
        auto, and raises TableError if the table's comment is its owner's."""
        from cliphouse.recall.measure import RecallSpec, measure_recall

        ks = (k,) if isinstance(k, int) else tuple(k)
        spec = RecallSpec(modality, metric, ks, queries, target, save, quick)
        if (jobs := self._jobs()) is not None:  # the way through a service takes time, too
            return jobs.recall(spec, progress)
        with self._database.long_retries(AGAIN):
            known = self._search.known(modality)
            measured = measure_recall(known.table, known.facts, spec, progress)
        if save:
            # The table as it is now: measuring takes minutes, in which others may have written.
            keep_measured(self.handle, measured)
            self.refresh()
        return measured

    def rounding_cost(
        self,
        *places: str | Path,
        modality: Modality = "image",
        k: int = 10,
        queries: int = 200,
        metric: Metric = "cosine",
    ) -> tuple[RoundingCost, ...]:
        """What bfloat16 rounding costs (see cliphouse.recall.rounding): the share of the shards'
        own exact top k that is in the table's."""
        from cliphouse.recall.rounding import measure_rounding
        from cliphouse.shards.source import find_sources

        sources = find_sources(list(map(str, places)), None)
        known = self._search.known(modality)
        request = Request(k=k, modality=modality, metric=metric)
        return measure_rounding(known.table, known.facts, sources, request, queries)

    def _require_index(self) -> None:
        if not self.connection.is_embedded:
            self.connection.features.require_index(self._database.address.shown)

    def _build(self, spec: IndexSpec, progress: BuildProgress | None, force: bool) -> BuiltIndex:
        from cliphouse.indexing.build import build_index

        with self._database.long_retries(GOES_ON):
            self._require_index()
            built = build_index(self.handle, spec, progress, force)
        if built.seconds:
            forget_measured(self.handle, spec.modality, spec.metric)
        return built
