"""ClickHouse: the table, loading it, its index, and searching it. Only this room writes SQL."""

from cliphouse.table.answer import Answer
from cliphouse.table.index import BuiltIndex, IndexSpec
from cliphouse.table.ingest import IngestReport
from cliphouse.table.lease import Holding
from cliphouse.table.load import ShardLoad
from cliphouse.table.schema import Measured, TableInfo
from cliphouse.table.search import Filter, Hit, SearchResult, SearchStats
from cliphouse.table.summary import TableSummary
from cliphouse.table.table import DEFAULT_DB, DEFAULT_TABLE, Table

__all__ = [
    "DEFAULT_DB",
    "DEFAULT_TABLE",
    "Answer",
    "BuiltIndex",
    "Filter",
    "Hit",
    "Holding",
    "IndexSpec",
    "IngestReport",
    "Measured",
    "SearchResult",
    "SearchStats",
    "ShardLoad",
    "Table",
    "TableInfo",
    "TableSummary",
]
