"""Search: the k rows nearest to a vector, exactly, by codes or through the HNSW index, and how."""

from cliphouse.table.search.choose import Plan, choose, index_name
from cliphouse.table.search.filter import Filter
from cliphouse.table.search.request import METRICS, MODES, Metric, Mode, Request, one_of
from cliphouse.table.search.results import Hit, SearchResult, SearchStats
from cliphouse.table.search.run import Searcher
from cliphouse.table.search.statement import DISTANCE

__all__ = [
    "DISTANCE",
    "METRICS",
    "MODES",
    "Filter",
    "Hit",
    "Metric",
    "Mode",
    "Plan",
    "Request",
    "SearchResult",
    "SearchStats",
    "Searcher",
    "choose",
    "index_name",
    "one_of",
]
