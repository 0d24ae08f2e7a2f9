"""Routes that export a search: its hits as a file, and the search as a command, Python and SQL;
and a list of rows as a file."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from cliphouse.engine.address import FolderAddress, parse_address
from cliphouse.engine.arrays import without_lists
from cliphouse.json_text import to_json
from cliphouse.search.arrow import rows_table
from cliphouse.search.listing import MOST_ROWS, Listing, RowPage, list_rows
from cliphouse.server.api import service_of
from cliphouse.server.failures import RESPONSES, json_answer
from cliphouse.server.recipe import Recipe
from cliphouse.server.rows import ColumnName, RowsBody
from cliphouse.server.schema import SearchBody
from cliphouse.server.service import Service
from cliphouse.table import Table

if TYPE_CHECKING:
    import pyarrow as pa

router = APIRouter(prefix="/api", responses=RESPONSES)
MOST_IN_FILE = 10_000
FileFormat = Literal["json", "csv", "parquet"]
_MEDIA_TYPES: dict[FileFormat, str] = {
    "json": "application/json",
    "csv": "text/csv; charset=utf-8",
    "parquet": "application/vnd.apache.parquet",
}
_FILE: dict[int | str, dict[str, Any]] = {
    200: {"content": {t: {} for t in _MEDIA_TYPES.values()}, "description": "The hits as a file"}
}


class RowsFileBody(RowsBody):
    """Which rows go into the file: as in /api/rows, but more of them, and by default all columns
    but the embeddings."""

    k: Annotated[int, Field(ge=1, le=MOST_IN_FILE)] = 100
    fields: list[ColumnName] | None = Field(None, max_length=100)  # type: ignore[assignment]


class CodeAnswer(BaseModel):
    """The same search as a shell command, as Python, and as an exact search in SQL.

    The SQL does not fold near-duplicates. ``command`` is null if the command line would read the
    words as something else. ``notes`` list the placeholders to replace.
    """

    command: str | None
    python: str
    sql: str
    notes: list[str]


@router.post("/search/download", response_class=Response, responses=_FILE)
async def download(
    request: Request, body: SearchBody, format: Annotated[FileFormat, Query()] = "json"
) -> Response:
    """Search, and return the hits as a file: the JSON of /api/search, CSV or parquet."""
    options = body.to_request()
    result = await service_of(request).search(body.table, body.to_operands(), options, body.count)
    if format == "json":
        return _file(_json(result.to_dict()), format)
    return _file(_encode(result.to_arrow(), format), format)


@router.post("/rows/download", response_class=Response, responses=_FILE)
async def download_rows(
    request: Request, body: RowsFileBody, format: Annotated[FileFormat, Query()] = "json"
) -> Response:
    """List rows, and return them as a file: the JSON of /api/rows, CSV or parquet."""
    service = service_of(request)
    listing = body.to_listing()
    page = await service.read(body.table, lambda table: _list_all(table, listing))
    if format == "json":
        return _file(_json({"rows": page.rows, "cursor": page.cursor}), format)
    return _file(_encode(rows_table(page.rows, service.columns(body.table)), format), format)


@router.post("/search/code", response_model=None, responses={200: {"model": CodeAnswer}})
async def code(request: Request, body: SearchBody) -> Response:
    """Write the search as a command line, as Python and as SQL."""
    service = service_of(request)
    table = service.resolve(body.table)
    recipe = Recipe(
        body.to_operands(),
        body.to_request(),
        _database(service),
        table,
        service.columns(table),
    )
    sql = await service.spell_out(table, recipe.operands, recipe.request)
    return json_answer(
        {
            "command": recipe.command(),
            "python": recipe.python(),
            "sql": sql,
            "notes": recipe.notes(),
        }
    )


def _list_all(table: Table, listing: Listing) -> RowPage:
    """All rows of a list that may be longer than a page."""
    handle, cursor = table.handle, listing.cursor
    rows: list[Any] = []
    while True:
        k = min(MOST_ROWS, listing.k - len(rows))
        page = list_rows(handle, replace(listing, k=k, cursor=cursor))
        rows += page.rows
        cursor = page.cursor
        if cursor is None or len(rows) >= listing.k:
            return RowPage(rows, cursor)


def _json(document: dict[str, Any]) -> bytes:
    return (to_json(document, indent=2) + "\n").encode()


def _encode(rows: pa.Table, format: FileFormat) -> bytes:
    buffer = io.BytesIO()
    if format == "csv":
        pa_csv.write_csv(without_lists(rows), buffer)
    else:
        pq.write_table(rows, buffer)
    return buffer.getvalue()


def _file(data: bytes, format: FileFormat) -> Response:
    name = f'attachment; filename="cliphouse.{format}"'
    headers = {"Content-Disposition": name}
    return Response(data, media_type=_MEDIA_TYPES[format], headers=headers)


def _database(service: Service) -> str:
    """The database's address. Only users of this machine see the full path of a folder."""
    settings = service.settings
    address = parse_address(settings.db)
    is_own = settings.is_loopback and not settings.keys and not settings.hosts
    if isinstance(address, FolderAddress) and not is_own:
        return address.folder.name
    return address.shown
