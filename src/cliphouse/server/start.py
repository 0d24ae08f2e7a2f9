"""The route /api/start: all that the page shows first, in one answer."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from cliphouse.schema.handle import TableHandle
from cliphouse.search.column_filter import ValueType
from cliphouse.search.filter import Filter, filter_fields
from cliphouse.search.listing import ID, Listing, RowPage, has_value, list_rows
from cliphouse.server.api import TableName, describe, service_of
from cliphouse.server.failures import RESPONSES, json_answer
from cliphouse.server.service import Service
from cliphouse.table import Table

router = APIRouter(prefix="/api", responses=RESPONSES, include_in_schema=False)
_TAKEN = "taken"
_ROWS = 60
_SHOWN = ("url", "caption", "width", "height", "folder", "file_name", "frame_time", _TAKEN)


@router.get("/start", response_model=None)
async def start(request: Request, table: TableName = None) -> Response:
    """What /api/info says of a table, and its first rows as the page lists them: by the time at
    which they were taken, the newest first, or if no row has one, by id. The page takes the rows if
    these are the sort and the filter that it would ask for."""
    service = service_of(request)
    described, rows = await asyncio.gather(describe(service, table), _first_rows(service, table))
    return json_answer({"info": described, "list": rows})


async def _first_rows(service: Service, table: str | None) -> dict[str, Any]:
    filter = _usual_filter(service.columns(table))

    def read(one: Table) -> tuple[str, RowPage]:
        handle = one.handle
        sort = f"-{_TAKEN}" if _is_dated(handle) else ID
        fields = [name for name in _SHOWN if name in handle.columns]
        return sort, list_rows(handle, Listing(_ROWS, sort, filter, fields))

    sort, page = await service.read(table, read)
    service.listed(table, page)
    return {"sort": sort, "filter": filter.to_dict(), "rows": page.rows, "cursor": page.cursor}


def _is_dated(table: TableHandle) -> bool:
    return ValueType.of(table.columns.get(_TAKEN, "")).is_time and has_value(table, _TAKEN)


def _usual_filter(columns: Collection[str]) -> Filter:
    """What the page hides, unless it is told to show it."""
    hidden = {
        field.name: field.column.unwanted[:1]
        for field in filter_fields().values()
        if field.kind == "not_in" and field.column.unwanted and field.column.name in columns
    }
    return Filter(**hidden)
