"""The route /api/duplicates: all groups of a table's rows that are the same picture, or nearly."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import Field
from starlette.responses import Response, StreamingResponse

from cliphouse.errors import CliphouseError
from cliphouse.inspection.duplicates import (
    DEFAULT_THRESHOLD,
    ComparableRows,
    DuplicateGroup,
    check_comparable,
    compare,
    read_comparable,
)
from cliphouse.json_text import to_json_bytes
from cliphouse.server.api import service_of
from cliphouse.server.failures import RESPONSES
from cliphouse.server.filtered import Filtered
from cliphouse.server.schema import Name

router = APIRouter(prefix="/api", responses=RESPONSES)
MOST_ROWS = 100_000  # some 200 MB of vectors, and a minute or two
MOST_GROUPS = 500
MOST_OF_A_GROUP = 100
_TELL_SECONDS = 0.2
_JSON_LINES = "application/jsonl"


class DuplicatesBody(Filtered):
    """The least cosine similarity of two pictures' vectors, and the filter that rows must meet."""

    threshold: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] = DEFAULT_THRESHOLD
    table: Name | None = None


@router.post("/duplicates", response_model=None, responses={200: {"content": {_JSON_LINES: {}}}})
async def duplicates(request: Request, body: DuplicatesBody) -> Response:
    """Group the rows that are the same picture, or nearly. At most 100,000 rows are compared.

    The answer is lines of JSON. `{"progress": [DONE, TOTAL]}` comes several times in a second. The
    last line has the 500 largest `groups`, each with its `kind` (`file` if all of its files have
    the same bytes, else `picture`), its `count` of rows and the first 100 `rows`; the number of all
    groups as `total`, and `more`, the rows that are more than one of each. If something fails
    meanwhile, the last line has an `error`. One comparison runs at a time; others wait for it.
    """
    filter = body.to_filter()
    await service_of(request).read(
        body.table, lambda one: check_comparable(one.handle, filter=filter, most=MOST_ROWS)
    )
    return StreamingResponse(_lines(request, body), media_type=_JSON_LINES)


async def _lines(request: Request, body: DuplicatesBody) -> AsyncIterator[bytes]:
    filter = body.to_filter()
    try:
        async with request.app.state.comparing:
            rows = await service_of(request).read(
                body.table,
                lambda one: read_comparable(one.handle, filter=filter, most=MOST_ROWS),
            )
            async for line in _compare(rows, body.threshold):
                yield line
    except CliphouseError as error:
        yield _line({"error": {"message": str(error), "type": error.code}})


class _StoppedError(Exception):
    """The client has gone."""


async def _compare(rows: ComparableRows, threshold: float) -> AsyncIterator[bytes]:
    """Compare in a thread. A client who stops reading stops it."""
    stop, told = threading.Event(), [0, len(rows.ids)]

    def tell(done: int, total: int) -> None:
        if stop.is_set():
            raise _StoppedError
        told[:] = done, total

    work = asyncio.get_running_loop().run_in_executor(None, compare, rows, threshold, tell)
    work.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
    try:
        while not work.done():
            await asyncio.wait([work], timeout=_TELL_SECONDS)
            yield _line({"progress": told})
        yield _line(_answer(work.result()))
    finally:
        stop.set()


def _answer(groups: list[DuplicateGroup]) -> dict[str, Any]:
    shown = [
        {
            "kind": group.kind,
            "count": len(group.rows),
            "rows": [asdict(row) for row in group.rows[:MOST_OF_A_GROUP]],
        }
        for group in groups[:MOST_GROUPS]
    ]
    more = sum(len(group.rows) - 1 for group in groups)
    return {"groups": shown, "total": len(groups), "more": more}


def _line(document: dict[str, Any]) -> bytes:
    return to_json_bytes(document) + b"\n"
