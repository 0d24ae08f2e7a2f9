"""clip-retrieval's REST routes, so that its clients need only another URL.

They behave like its published service (README and clip_back of version 2.45):

- The fields and their defaults are the same.
- Of several queries, text comes first, then image, image_url and embedding_input.
- A body is read as JSON with any Content-Type.
- Results after the first ``num_images`` have only an id and a similarity.

Some requests made clip-retrieval answer with an HTML page and status 500. Here they get an error
with a reason. Options that need a missing model are ignored and named in the header
``X-Cliphouse-Ignored``.
"""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import Collection, Sequence
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel, Field, ValidationError

from cliphouse.errors import MissingError, PictureError, QueryError
from cliphouse.schema.columns import COLUMNS
from cliphouse.search.filter import Filter
from cliphouse.search.hits import Hit
from cliphouse.search.query.operand import Operand
from cliphouse.search.query.wire import decode_picture
from cliphouse.search.request import Request as SearchRequest
from cliphouse.server.api import service_of
from cliphouse.server.column_models import RESULT_WORDS, ResultAnswer
from cliphouse.server.failures import RESPONSES, json_answer
from cliphouse.server.images import Pictures
from cliphouse.server.schema import Id
from cliphouse.server.settings import MAX_DEPTH
from cliphouse.server.summary import summarise_metrics

IGNORED_HEADER = "X-Cliphouse-Ignored"
UNSAFE = next(column.unwanted for column in COLUMNS if column.name == "NSFW")
DEDUP = 0.94  # the cosine similarity from which clip-retrieval treats two pictures as duplicates
MAX_TEXT = 10_000
MAX_DIM = 16_384
MAX_PICTURES = 100  # at most so many results include their picture, if it is a local file
PICTURE_SIZE = 512
_Number = Annotated[float, Field(ge=-3.4e38, le=3.4e38, allow_inf_nan=False)]  # a float32
_WITHOUT_MODEL = ("use_violence_detector", "use_mclip", "aesthetic_score", "aesthetic_weight")

router = APIRouter(tags=["clip-retrieval"], responses=RESPONSES)
_Body = TypeVar("_Body", bound=BaseModel)


class KnnBody(BaseModel):
    """The request body of /knn-service. A field that is null counts as missing."""

    text: Annotated[str, Field(max_length=MAX_TEXT)] | None = None
    image: str | None = Field(None, description="A picture file in base64")
    image_url: str | None = None
    embedding_input: Annotated[list[_Number], Field(min_length=1, max_length=MAX_DIM)] | None = None
    modality: Literal["image", "text"] | None = Field(None, description="image by default")
    num_images: Annotated[int, Field(ge=0, le=MAX_DEPTH)] | None = Field(
        None, description="How many results have all their fields; 100 by default"
    )
    num_result_ids: Annotated[int, Field(ge=1, le=MAX_DEPTH)] | None = Field(
        None, description="How many results in all; num_images by default"
    )
    indice_name: str | None = Field(None, description="A table; the server's first by default")
    deduplicate: bool | None = None
    use_safety_model: bool | None = Field(
        None, description="Leaves out rows whose column NSFW is NSFW or UNSURE"
    )
    use_violence_detector: Any = Field(None, description="Ignored")
    use_mclip: Any = Field(None, description="Ignored")
    aesthetic_score: Any = Field(None, description="Ignored")
    aesthetic_weight: Any = Field(None, description="Ignored")


class MetadataBody(BaseModel):
    """The request body of /metadata."""

    ids: Annotated[list[Id], Field(max_length=MAX_DEPTH)]
    indice_name: str | None = Field(None, description="A table; the server's first by default")


class MetadataAnswer(BaseModel):
    """A row: its columns except the embeddings."""

    id: int
    metadata: dict[str, object]


def _json_of(body: type[BaseModel]) -> dict[str, Any]:
    """The OpenAPI description of a body that may have any Content-Type."""
    content = {"application/json": {"schema": body.model_json_schema()}}
    return {"requestBody": {"required": True, "content": content}}


@router.post(
    "/knn-service",
    response_model=None,
    responses={200: {"model": list[ResultAnswer]}},
    openapi_extra=_json_of(KnnBody),
)
async def knn_service(request: Request) -> Response:
    """Find the rows nearest to words, a picture or a vector."""
    body = await _read(request, KnnBody)
    service = service_of(request)
    table = service.resolve(_table(body.indice_name))
    columns = service.columns(table)
    result = await service.search(table, (_operand(body),), _to_request(body, columns))
    rows: list[dict[str, Any]] = [{"id": hit.id, "similarity": hit.score} for hit in result]
    detailed = result[: _num_images(body)]
    for row, hit in zip(rows, detailed, strict=False):
        row |= _details(hit, columns)
    await _add_pictures(request, rows[: len(detailed)])
    ignored = _ignored(body, columns)
    return json_answer(rows, headers={IGNORED_HEADER: ", ".join(ignored)} if ignored else None)


@router.post(
    "/metadata",
    response_model=None,
    responses={200: {"model": list[MetadataAnswer]}},
    openapi_extra=_json_of(MetadataBody),
)
async def metadata(request: Request) -> Response:
    """Get rows by their ids, without embeddings."""
    body = await _read(request, MetadataBody)
    service = service_of(request)
    table = service.resolve(_table(body.indice_name))
    known = {row.pop("id"): row for row in await service.items(table, list(set(body.ids)))}
    if missing := [row_id for row_id in body.ids if row_id not in known]:
        raise MissingError(f"table {table} has no row {missing[0]}")
    await _add_pictures(request, [known[row_id] for row_id in dict.fromkeys(body.ids)])
    return json_answer([{"id": row_id, "metadata": known[row_id]} for row_id in body.ids])


@router.get("/indices-list")
async def indices_list(request: Request) -> list[str]:
    """List the names that ``indice_name`` accepts. The first is the default."""
    return service_of(request).tables


@router.get("/metrics-summary", response_class=PlainTextResponse)
async def metrics_summary(request: Request) -> str:
    """Summarise for people how long each step of a search takes. /metrics is for Prometheus."""
    return summarise_metrics(service_of(request).metrics)


async def _read(request: Request, kind: type[_Body]) -> _Body:
    try:
        return kind.model_validate_json(await request.body())
    except ValidationError as error:
        raise RequestValidationError(error.errors(include_input=False)) from error


def _table(indice_name: str | None) -> str | None:
    """The table's name. A name cannot have hyphens, so they become underscores."""
    return None if indice_name is None else indice_name.replace("-", "_")


def _ignored(body: KnnBody, columns: Collection[str]) -> list[str]:
    """The names of the options that were set but have no effect."""
    ignored = [name for name in _WITHOUT_MODEL if getattr(body, name) not in (None, False, "")]
    if body.use_safety_model and "NSFW" not in columns:
        ignored.append("use_safety_model")
    return ignored


def _to_request(body: KnnBody, columns: Collection[str]) -> SearchRequest:
    k = body.num_result_ids or _num_images(body)
    if k == 0:
        raise QueryError(
            "num_images is 0 and num_result_ids is missing, so there would be no results"
        )
    is_safe = body.use_safety_model and "NSFW" in columns
    return SearchRequest(
        modality=body.modality or "image",
        k=k,
        filter=Filter(nsfw_not_in=UNSAFE) if is_safe else None,
        dedup=DEDUP if body.deduplicate else None,
    )


def _operand(body: KnnBody) -> Operand:
    if body.text:
        return Operand(words=body.text)
    if body.image is not None:
        return Operand(picture=decode_picture(re.sub(r"\s", "", body.image)))
    if body.image_url is not None:
        return Operand(picture_url=body.image_url)
    if body.embedding_input is not None:
        return Operand(vector=tuple(body.embedding_input))
    raise QueryError("give one of text, image, image_url and embedding_input")


def _num_images(body: KnnBody) -> int:
    return 100 if body.num_images is None else body.num_images


def _details(hit: Hit, columns: Collection[str]) -> dict[str, Any]:
    return {
        name: value
        for name, value in hit.values.items()
        if name in columns and name not in RESULT_WORDS
    }


async def _add_pictures(request: Request, rows: Sequence[dict[str, Any]]) -> None:
    """Add a JPEG in base64 to each of the first rows whose picture may be sent."""
    service = service_of(request)
    pictures: Pictures = request.app.state.pictures
    if not service.settings.pictures:
        return

    def encode(url: str) -> str | None:
        try:
            return base64.b64encode(pictures.show(url, PICTURE_SIZE).data).decode()
        except (MissingError, PictureError):
            return None

    loop = asyncio.get_running_loop()
    shown = rows[:MAX_PICTURES]
    encoding = [
        loop.run_in_executor(service.decoding, encode, str(row.get("url", ""))) for row in shown
    ]
    for row, encoded in zip(shown, await asyncio.gather(*encoding), strict=True):
        if encoded is not None:
            row["image"] = encoded
