"""A place in a list of hits, as a token that a program hands back for the next page."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass

from cliphouse.errors import QueryError


@dataclass(frozen=True)
class Cursor:
    """The last hit of a page, how deep the search for it went, and which search it was (see
    Request.fingerprint).

    The next page holds only rows farther than that (or as far, with a larger id), so no row comes
    twice, even if an approximate search finds another nearer row the second time.
    """

    distance: float
    id: int
    seen: int
    of: str

    def is_before(self, distance: float, row_id: int) -> bool:
        return (self.distance, self.id) < (distance, row_id)

    def to_token(self) -> str:
        text = json.dumps([self.distance, self.id, self.seen, self.of])
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")

    @classmethod
    def from_token(cls, token: str) -> Cursor:
        """Raises QueryError if the token is not one of ours."""
        try:
            data = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
            distance, row_id, seen, of = json.loads(data)
            cursor = cls(float(distance), int(row_id), int(seen), str(of))
        except (ValueError, TypeError, OverflowError, RecursionError, binascii.Error):
            cursor = None
        if cursor is None or cursor.seen < 1:
            raise QueryError("the cursor is none of this search's; leave it out for the first page")
        return cursor
