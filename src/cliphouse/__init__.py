"""CLIP + ClickHouse: search image-text pairs by words or by picture.

>>> import cliphouse
>>> laion = cliphouse.open("laion.chdb")  # or "http://user:password@host:8123/database"
>>> laion.ingest("shards/")
>>> for hit in laion.search("a dog and a cat", k=10, where="similarity > 0.3"):
...     print(hit.score, hit.url, hit.caption)

Importing it takes milliseconds: a name of ``__all__`` is loaded, with the libraries that it needs,
when it is first used.
"""

from typing import TYPE_CHECKING

from cliphouse._version import __version__
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

if TYPE_CHECKING:
    from cliphouse.models import Encoder, load_encoder
    from cliphouse.pictures.embed import embed_folder
    from cliphouse.schema.index_spec import IndexSpec
    from cliphouse.search.filter import Filter
    from cliphouse.search.hits import Hit
    from cliphouse.search.query.operand import Operand
    from cliphouse.search.request import Request
    from cliphouse.search.results import SearchResult
    from cliphouse.table import Table

    open = Table
else:  # hidden from type checkers, which would then accept any name
    _MODULES = {
        "Encoder": "cliphouse.models",
        "Filter": "cliphouse.search.filter",
        "Hit": "cliphouse.search.hits",
        "IndexSpec": "cliphouse.schema.index_spec",
        "Operand": "cliphouse.search.query.operand",
        "Request": "cliphouse.search.request",
        "SearchResult": "cliphouse.search.results",
        "Table": "cliphouse.table",
        "embed_folder": "cliphouse.pictures.embed",
        "load_encoder": "cliphouse.models",
        "open": "cliphouse.table",
    }

    def __getattr__(name):
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        value = getattr(import_module(_MODULES[name]), "Table" if name == "open" else name)
        globals()[name] = value
        return value

    def __dir__():
        return sorted({*globals(), *_MODULES})


__all__ = [
    "CliphouseError",
    "Encoder",
    "EngineError",
    "Filter",
    "Hit",
    "IndexSpec",
    "ModelError",
    "Operand",
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
