"""Forecasts the build of an index on a table. Nothing here reads or writes."""

from __future__ import annotations

from dataclasses import dataclass

from cliphouse.indexing.forecast import IndexForecast
from cliphouse.planning.costs import Collection, Speeds, cache_bytes, index_seconds


@dataclass(frozen=True)
class BuildForecast:
    """The cost of a build.

    ``graph`` is the memory that the graph needs and that is available, and ``seconds`` the time of
    the build. ``cache_bytes`` is the size that the engine counts for the graph in its cache, which
    keeps graphs in memory between searches.
    """

    graph: IndexForecast
    seconds: float
    cache_bytes: int

    @property
    def fits_cache(self) -> bool:
        """Whether the engine's cache can hold the graph, or its size is unknown.

        If it cannot, every search reads the graph from disk.
        """
        return self.graph.cache is None or self.cache_bytes <= self.graph.cache


def forecast_build(graph: IndexForecast, cores: int) -> BuildForecast:
    """Forecast a build on ``cores`` cores of a machine like that of Speeds."""
    share = Collection(graph.rows, graph.dim, modalities=1)
    seconds = index_seconds(graph.spec, share, cores, Speeds())
    return BuildForecast(graph, seconds, cache_bytes(graph.spec, share))
