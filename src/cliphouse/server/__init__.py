"""The search service: a table on HTTP, for programs and for clip-retrieval's clients."""

from cliphouse.server.app import create_app
from cliphouse.server.query import QueryPart, SearchQuery
from cliphouse.server.service import Service
from cliphouse.server.settings import ServeSettings

__all__ = ["QueryPart", "SearchQuery", "ServeSettings", "Service", "create_app"]
