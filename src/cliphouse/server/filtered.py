"""Request bodies with a filter that rows must meet."""

from __future__ import annotations

from cliphouse.search.filter import Filter
from cliphouse.search.request import Request
from cliphouse.server.column_models import FilterBody
from cliphouse.server.strict import Strict


class Filtered(Strict):
    """A body with a filter."""

    filter: FilterBody | None = None

    def to_request(self) -> Request:
        """The filter as that of a search. Raises QueryError if a value is wrong."""
        given = self.model_dump(include={"filter"}, exclude_none=True, by_alias=True)
        return Request.read(given)

    def to_filter(self) -> Filter | None:
        """The filter. Raises QueryError if a value is wrong."""
        return self.to_request().filter
