"""Forecasts the build of an index on a table."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

from cliphouse.indexing.forecast import IndexForecast, forecast
from cliphouse.indexing.trial import Trial, try_build
from cliphouse.planning.costs import (
    Collection,
    Speeds,
    cache_bytes,
    index_seconds,
    index_steps,
)
from cliphouse.schema.handle import TableHandle
from cliphouse.schema.index_spec import IndexSpec


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


def forecast_here(table: TableHandle, spec: IndexSpec) -> BuildForecast:
    """Forecast a build on the machine of the table. If that is this one, and the table is not
    small, a trial takes some tenths of a second."""
    graph = forecast(table, spec)
    return forecast_build(graph, os.cpu_count() or 1, try_build(table, spec, graph.rows))


def forecast_build(graph: IndexForecast, cores: int, trial: Trial | None = None) -> BuildForecast:
    """Forecast a build on ``cores`` cores: as fast as ``trial`` was built, or else of a machine
    like that of Speeds."""
    share = Collection(graph.rows, graph.dim, modalities=1)
    speeds = Speeds() if trial is None else replace(Speeds(), place=_place(trial))
    seconds = index_seconds(graph.spec, share, cores, speeds)
    return BuildForecast(graph, seconds, cache_bytes(graph.spec, share))


def _place(trial: Trial) -> float:
    """Speeds.place of the machine that built ``trial``."""
    share = Collection(trial.rows, trial.dim, modalities=1)
    return trial.processor_seconds / index_steps(trial.spec, share)
