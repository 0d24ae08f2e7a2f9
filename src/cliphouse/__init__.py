"""CLIP + ClickHouse: search image-text pairs by words or by picture.

>>> import cliphouse
>>> laion = cliphouse.open("laion.chdb")  # or "http://user:password@host:8123/database"
>>> laion.ingest("shards/")
>>> for hit in laion.search("a dog and a cat", k=10, where="similarity > 0.3"):
...     print(hit.similarity, hit.url, hit.caption)
"""

from importlib.metadata import version

from cliphouse.errors import (
    CliphouseError,
    EngineError,
    ModelError,
    PictureError,
    QueryError,
    ShardError,
    TableError,
    UserError,
)
from cliphouse.indexing.index import IndexSpec
from cliphouse.models import Encoder, load_encoder
from cliphouse.pictures import embed_folder
from cliphouse.search.filter import Filter
from cliphouse.search.query.vector import Combination
from cliphouse.search.request import Request
from cliphouse.search.results import Hit, SearchResult
from cliphouse.table import Table

open = Table

__version__ = version("cliphouse")

__all__ = [
    "CliphouseError",
    "Combination",
    "Encoder",
    "EngineError",
    "Filter",
    "Hit",
    "IndexSpec",
    "ModelError",
    "PictureError",
    "QueryError",
    "Request",
    "SearchResult",
    "ShardError",
    "Table",
    "TableError",
    "UserError",
    "__version__",
    "embed_folder",
    "load_encoder",
    "open",
]
