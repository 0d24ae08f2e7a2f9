"""A client of ``cliphouse serve``, for the command line and for programs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import httpx

from cliphouse.errors import QueryError, ServiceError, UserError, error_class
from cliphouse.inspection.facets import Facet
from cliphouse.inspection.summary import ColumnSize, IndexSize, NodeSize, RootSize, TableSummary
from cliphouse.loading.lease import ActiveLoad
from cliphouse.schema.columns import Scalar
from cliphouse.search.hits import Hit, HitField, hit_fields
from cliphouse.search.query.operand import Operand, Query, one_query
from cliphouse.search.query.wire import operand_to_json
from cliphouse.search.request import Request
from cliphouse.search.results import SearchResult, SearchStats
from cliphouse.vocabulary import MAX_BATCH, Measured

_SECONDS = 120.0
_inherited: list[httpx.Client] = []  # of the parent of a fork, whose sockets stay open


class Client:
    """Searches the tables of ``cliphouse serve`` at ``url``.

    >>> with Client("http://127.0.0.1:1234") as service:
    ...     results = service.search_many(["a red circle"], Request(k=5))

    Its methods raise ServiceError if the service cannot be reached or fails. If the service refuses
    a request, they raise the error that it names, such as QueryError.
    """

    def __init__(self, url: str, api_key: str | None = None) -> None:
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self.url = url.rstrip("/")
        self._http = self._connect()

    def search_many(
        self,
        queries: Sequence[Query | Sequence[Operand]],
        request: Request,
        table: str | None = None,
    ) -> list[SearchResult]:
        """Search for each query or sum of operands. Returns a result for each, in their order.

        The client reads picture and vector files and sends their contents. Raises QueryError if
        ``request`` has a condition in SQL, which the service does not accept.
        """
        options = _options(request) | ({} if table is None else {"table": table})
        bodies = [{"operands": list(map(operand_to_json, one_query(query)))} for query in queries]
        found: list[SearchResult] = []
        for start in range(0, len(bodies), MAX_BATCH):
            body = options | {"queries": bodies[start : start + MAX_BATCH]}
            answer = self._send("POST", "/api/search/batch", json=body)
            found += [_result(result) for result in answer["results"]]
        return found

    def info(self, table: str | None = None) -> TableSummary:
        """Describe a table of the service; the default table if ``table`` is None."""
        answer = self._send("GET", "/api/info", params={} if table is None else {"table": table})
        return _summary(answer["summary"] | {"database": self.url})

    def picture(self, id: int, size: int, table: str | None = None) -> bytes:
        """A row's picture as a JPEG of at most ``size`` pixels a side.

        Raises MissingError if the service has no file of it that clients may see."""
        asked = {"size": size} | ({} if table is None else {"table": table})
        response = self._ask("GET", f"/api/image/{id}", params=asked)
        if response.is_success:
            return response.content
        raise self._failure(response.status_code, _json(response))

    def facets(
        self,
        columns: Sequence[str],
        request: Request | None = None,
        most: int = 20,
        table: str | None = None,
    ) -> tuple[Facet, ...]:
        """Count the rows that meet the filter of ``request`` by the values of ``columns``, each
        with at most ``most`` values. No other option of ``request`` counts.

        Raises QueryError if the table has no such column, or ``request`` has a condition in SQL.
        """
        given = _options(request or Request())
        body = {name: given[name] for name in ("filter",) if name in given}
        body |= {} if table is None else {"table": table}
        answer = self._send("POST", "/api/facets", json=body | {"columns": columns, "values": most})
        return tuple(map(Facet.from_dict, answer["facets"]))

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _connect(self) -> httpx.Client:
        self._process = os.getpid()
        try:
            return httpx.Client(base_url=self.url, headers=self._headers, timeout=_SECONDS)
        except (httpx.InvalidURL, ValueError) as error:
            raise UserError(
                f"--server {self.url}: not the address of a service: {error}"
            ) from error

    def _send(self, method: str, path: str, **content: Any) -> dict[str, Any]:
        response = self._ask(method, path, **content)
        answer = _json(response)
        if response.is_success and isinstance(answer, dict):
            return answer
        raise self._failure(response.status_code, answer)

    def _ask(self, method: str, path: str, **content: Any) -> httpx.Response:
        if self._process != os.getpid():  # in a fork, the answers to both come on the same sockets
            _inherited.append(self._http)
            self._http = self._connect()
        try:
            return self._http.request(method, path, **content)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            reason = str(error) or type(error).__name__
            raise ServiceError(f"{self.url}: cannot be reached: {reason}") from error

    def _failure(self, status: int, answer: object) -> Exception:
        detail = answer.get("error") if isinstance(answer, dict) else None
        if not isinstance(detail, dict):
            return ServiceError(f"{self.url}: answers {status}; is it cliphouse serve?")
        message = f"{self.url}: {detail.get('message')}"
        if status == 401:
            return UserError(f"{message} (in the command line: --api-key or CLIPHOUSE_API_KEY)")
        kind = error_class(str(detail.get("type")))
        if kind is not None and issubclass(kind, UserError):
            return kind(message)
        return UserError(message) if status in (400, 404, 413, 422) else ServiceError(message)


def _json(response: httpx.Response) -> object:
    """What an answer holds; None if it is no JSON."""
    try:
        return response.json()
    except ValueError:
        return None


def _options(request: Request) -> dict[str, Any]:
    for option, _ in request.given():
        if option.is_sql:
            raise QueryError(f"a service takes no SQL: leave {option.flag} out")
    return {o.name: o.write(value) for o, value in request.values() if value is not None}


def _result(answer: Mapping[str, Any]) -> SearchResult:
    hits = tuple(map(_hit, answer["hits"]))
    stats = SearchStats(**answer["search"])
    return SearchResult(hits, stats, "", answer["cursor"], _fields(hits))


def _hit(answer: Mapping[str, Any]) -> Hit:
    """A hit from JSON, whose null stands for an unknown number in LAION's columns."""
    numbers = ("score", "distance", *(f.name for f in hit_fields() if f.type.python is float))
    return Hit.from_dict(
        {n: float("nan") if v is None and n in numbers else v for n, v in answer.items()}
    )


def _fields(hits: Sequence[Hit]) -> tuple[HitField, ...]:
    """The columns that hits show. A table's own have the types that JSON has: a date is text."""
    known = {field.name: field for field in hit_fields()}
    names = dict.fromkeys(name for hit in hits for name in hit.values)
    found = []
    for name in names or known:
        values = (hit.values[name] for hit in hits if hit.values.get(name) is not None)
        own = Scalar(_json_type(next(values, None)), None, None)
        found.append(known.get(name) or HitField(name, own, name))
    return tuple(found)


def _json_type(value: Any) -> str:
    if isinstance(value, list):
        return f"Array({_json_type(next(iter(value), None))})"
    for kind, sql in ((bool, "Bool"), (int, "Int64"), (float, "Float64")):
        if isinstance(value, kind):
            return f"Nullable({sql})"
    return "Nullable(String)"


def _summary(answer: Mapping[str, Any]) -> TableSummary:
    values = dict(answer)
    kinds = {"columns": ColumnSize, "indexes": IndexSize, "measured": Measured, "nodes": NodeSize}
    for name, kind in kinds.items():
        values[name] = tuple(kind(**entry) for entry in values[name])
    values["roots"] = tuple(RootSize(**entry) for entry in values.get("roots", ()))
    for name in ("first_load", "last_load"):
        values[name] = None if values[name] is None else datetime.fromisoformat(values[name])
    values["loading"] = tuple(ActiveLoad(**entry) for entry in values.get("loading", ()))
    for name in ("modalities", "unfinished", "lacking", "forbidden"):
        values[name] = tuple(values.get(name, ()))
    return TableSummary(**values)
