"""Search: the k rows nearest to a vector, exactly, by codes or through the HNSW index, and how."""

from cliphouse.table.facts import DISTANCE, Metric
from cliphouse.table.search.choose import Plan, choose, index_name
from cliphouse.table.search.filter import Filter
from cliphouse.table.search.request import METRICS, MODES, Mode, Request, one_of
from cliphouse.table.search.results import Hit, SearchResult, SearchStats
from cliphouse.table.search.run import Searcher

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
