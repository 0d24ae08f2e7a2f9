"""Routes that export a search: its hits as a file, and the search as a command, Python and SQL."""

from __future__ import annotations

import io
from typing import Annotated, Any, Literal

import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from fastapi import APIRouter, Query, Request
from pydantic import BaseModel
from starlette.responses import Response

from cliphouse.engine.address import FolderAddress, parse_address
from cliphouse.engine.arrays import without_lists
from cliphouse.json_text import to_json
from cliphouse.search.results import SearchResult
from cliphouse.server.api import service_of
from cliphouse.server.failures import RESPONSES, json_answer
from cliphouse.server.recipe import Recipe
from cliphouse.server.schema import SearchBody
from cliphouse.server.service import Service

router = APIRouter(prefix="/api", responses=RESPONSES)
FileFormat = Literal["json", "csv", "parquet"]
_MEDIA_TYPES: dict[FileFormat, str] = {
    "json": "application/json",
    "csv": "text/csv; charset=utf-8",
    "parquet": "application/vnd.apache.parquet",
}
_FILE: dict[int | str, dict[str, Any]] = {
    200: {"content": {t: {} for t in _MEDIA_TYPES.values()}, "description": "The hits as a file"}
}


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
    name = f'attachment; filename="cliphouse.{format}"'
    return Response(
        _encode(result, format),
        media_type=_MEDIA_TYPES[format],
        headers={"Content-Disposition": name},
    )


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


def _encode(result: SearchResult, format: FileFormat) -> bytes:
    if format == "json":
        return (to_json(result.to_dict(), indent=2) + "\n").encode()
    buffer = io.BytesIO()
    if format == "csv":
        pa_csv.write_csv(without_lists(result.to_arrow()), buffer)
    else:
        pq.write_table(result.to_arrow(), buffer)
    return buffer.getvalue()


def _database(service: Service) -> str:
    """The database's address. Only users of this machine see the full path of a folder."""
    settings = service.settings
    address = parse_address(settings.db)
    is_own = settings.is_loopback and not settings.keys and not settings.hosts
    if isinstance(address, FolderAddress) and not is_own:
        return address.folder.name
    return address.shown
