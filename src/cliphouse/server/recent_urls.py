"""The URLs of the rows that searches have just found, whose pictures clients ask for next."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from cachetools import TTLCache

from cliphouse.search.hits import Hit

_MOST_BYTES = 5_000_000
_SECONDS = 10.0  # for so long a picture may be that of a row that was changed or deleted
_OBJECTS = 400  # bytes of an entry's Python objects, about


class RecentUrls:
    """Keeps the URLs of rows for ten seconds, in up to 5 MB. Call it from one thread.

    The page asks for some dozen pictures after each search. Without this, each of them would be a
    query.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """``clock`` returns seconds."""
        self._urls: TTLCache[tuple[str, int], str] = TTLCache(
            _MOST_BYTES, _SECONDS, clock, lambda url: len(url) + _OBJECTS
        )

    def keep(self, table: str, hits: Iterable[Hit]) -> None:
        """Keep the URLs of hits that have one."""
        for hit in hits:
            self._keep(table, hit.id, hit.values.get("url"))

    def keep_rows(self, table: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """Keep the URLs of rows that have one."""
        for row in rows:
            self._keep(table, row["id"], row.get("url"))

    def get(self, table: str, row: int) -> str | None:
        """The URL of a row; None if it is not kept."""
        return self._urls.get((table, row))

    def _keep(self, table: str, row: int, url: object) -> None:
        if isinstance(url, str) and 0 < len(url) < _MOST_BYTES // 100:
            self._urls[table, row] = url
