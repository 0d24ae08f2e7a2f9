"""What building an index on a table takes, before it begins. Nothing here reads or writes."""

from __future__ import annotations

from dataclasses import dataclass

from cliphouse.indexing.forecast import IndexForecast
from cliphouse.planning.costs import Collection, Speeds, cache_bytes, index_seconds


@dataclass(frozen=True)
class BuildForecast:
    """``graph`` is the memory that the graph takes and that there is, ``seconds`` the time of
    building it, ``cache_bytes`` what the engine counts for it among the graphs that it keeps in
    memory between searches."""

    graph: IndexForecast
    seconds: float
    cache_bytes: int

    @property
    def fits_cache(self) -> bool:
        """Whether the engine keeps the graph in memory, as far as its configuration is known; if
        it does not, every search reads the graph from disk."""
        return self.graph.cache is None or self.cache_bytes <= self.graph.cache


def forecast_build(graph: IndexForecast, cores: int) -> BuildForecast:
    """The forecast of a build on ``cores`` of a machine like that of Speeds."""
    share = Collection(graph.rows, graph.dim, modalities=1)
    seconds = index_seconds(graph.spec, share, cores, Speeds())
    return BuildForecast(graph, seconds, cache_bytes(graph.spec, share))
