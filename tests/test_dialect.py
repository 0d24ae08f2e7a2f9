"""clip-retrieval's calls over real HTTP, in the shape its ClipClient and its web front send them.

What should come back is worked out with numpy from the vectors in the shard's own files.
"""

from __future__ import annotations

import base64
import io
import ipaddress
import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

import cliphouse
from cliphouse.server.keys import hash_key
from cliphouse.server.settings import ServeSettings
from conftest import Run
from serving import serving
from shard_files import MadeShard, make_shard, unit_vectors
from thorough import examples

ROWS, DIM = 400, 512
TAGS = ["UNLIKELY", "UNSURE", "NSFW", "", "UNLIKELY"]
DETAILS = {"url", "caption", "NSFW", "width", "height", "license"}
IGNORED = "X-Cliphouse-Ignored"


@dataclass(frozen=True)
class World:
    """A running server, and what is in its table ``laion``."""

    url: str
    http: httpx.Client
    settings: ServeSettings
    shard: MadeShard
    tags: NDArray[Any]

    def post(self, path: str = "/knn-service", **fields: Any) -> httpx.Response:
        """As ClipClient posts: JSON as plain data, without a Content-Type."""
        return self.http.post(path, content=json.dumps(fields))

    def ids(self, **fields: Any) -> list[int]:
        response = self.post(**fields)
        assert response.status_code == 200, response.text
        return [row["id"] for row in response.json()]

    def nearest(
        self,
        query: NDArray[Any],
        k: int,
        modality: str = "image",
        *,
        is_safe: bool = False,
        dedup: float | None = None,
    ) -> list[int]:
        """The nearest rows by brute force in double precision, near-duplicates left out."""
        vectors = self.shard.image if modality == "image" else self.shard.text
        assert vectors is not None
        unit = vectors.astype(np.float64)
        unit /= np.linalg.norm(unit, axis=1, keepdims=True)
        order = np.argsort(-(unit @ query.astype(np.float64)), kind="stable")
        if is_safe:
            order = [row for row in order if self.tags[row] not in ("NSFW", "UNSURE")]
        kept: list[int] = []
        for row in order:
            if dedup is None or not any(unit[row] @ unit[other] >= dedup for other in kept):
                kept.append(int(row))
        return kept[:k]

    def vector(self, row: int) -> list[float]:
        return self.shard.image[row].astype(np.float64).tolist()


def png(colour: str = "red") -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (40, 30), colour).save(data, "PNG")
    return data.getvalue()


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("dialect")
    tags = np.array([TAGS[row % len(TAGS)] for row in range(ROWS)])
    shard = make_shard(folder / "shards", 3, ROWS, DIM, dtype="<f4", metadata=_metadata(tags))
    _add_duplicates(shard)
    db = folder / "laion.chdb"
    with cliphouse.open(db, model="tiny") as table:
        table.ingest(folder / "shards")
        table.sql(
            "CREATE TABLE bare ENGINE = MergeTree ORDER BY id AS "
            "SELECT id, url, image_embedding FROM laion"
        )
    make_shard(folder / "more", 0, 20, DIM, metadata=_local_pictures(folder))
    with cliphouse.open(db, "laion5B_L_14", model="tiny") as table:
        table.ingest(folder / "more")
    chosen = ServeSettings(
        db=str(db),
        tables=("laion", "laion5B_L_14", "bare"),
        model="tiny",
        cors=("*",),
        pictures=(folder / "shown",),
        picture_networks=(ipaddress.ip_network("127.0.0.1/32"),),
    )
    with serving(chosen) as served:
        yield World(served.url, served.http, chosen, shard, tags)


def _metadata(tags: NDArray[Any]) -> dict[str, Any]:
    similarity = np.linspace(0.2, 0.5, ROWS)
    similarity[7] = np.nan
    return {
        "url": [f"http://example.org/{row}.jpg" for row in range(ROWS)],
        "caption": [f"naïve picture {row} “quoted”" for row in range(ROWS)],
        "NSFW": tags.tolist(),
        "similarity": similarity.tolist(),
        "width": list(range(100, 100 + ROWS)),
        "height": list(range(200, 200 + ROWS)),
        "LICENSE": ["?"] * ROWS,
    }


def _local_pictures(folder: Path) -> dict[str, Any]:
    """Row 0 is a file that may be shown; the next ones lie elsewhere, are no picture, are not
    there, or lead out by a link."""
    (folder / "shown").mkdir()
    (folder / "hidden").mkdir()
    for place in ("shown/0.png", "hidden/1.png"):
        (folder / place).write_bytes(png())
    (folder / "shown" / "2.png").write_text("no picture")
    (folder / "shown" / "4.png").symlink_to(folder / "hidden" / "1.png")
    files = ["shown/0.png", "hidden/1.png", "shown/2.png", "shown/3.png", "shown/4.png"]
    urls = [str(folder / name) for name in files] + ["http://example.org/a.jpg"] * 15
    return {"url": urls, "caption": [""] * 20}


def _add_duplicates(shard: MadeShard) -> None:
    """Rows 100 to 160 become near-copies of row 99, of cosine similarity about 0.99."""
    rng = np.random.default_rng(0)
    noise = unit_vectors(rng, 61, DIM)
    shard.image[100:161] = shard.image[99] + 0.1 * noise
    np.save(shard.folder / "img_emb" / "img_emb_3.npy", shard.image)


@pytest.fixture(scope="module")
def picture_host() -> Iterator[str]:
    from test_public import serving as serving_pictures

    with serving_pictures() as server:

        def send(handler: Any) -> None:
            handler.begin(Content_Length=str(len(png("blue"))))
            handler.wfile.write(png("blue"))

        server.answers = {"/blue.png": send}
        yield server.url("")


def rows_of(world: World, ids: list[int]) -> list[int]:
    return [row_id - 3 * 2**32 for row_id in ids]


def encode(query: str | bytes) -> NDArray[np.float32]:
    encoder = cliphouse.load_encoder("tiny")
    if isinstance(query, str):
        return encoder.encode_text([query])[0]
    image = Image.open(io.BytesIO(query)).convert("RGB")
    return encoder.encode_image([encoder.shrink(image)])[0]


# What ClipClient sends with its defaults.
CLIENT = {
    "text": "a red circle",
    "image": None,
    "image_url": None,
    "embedding_input": None,
    "deduplicate": True,
    "use_safety_model": True,
    "use_violence_detector": True,
    "indice_name": "laion",
    "use_mclip": False,
    "aesthetic_score": 9,
    "aesthetic_weight": 0.5,
    "modality": "image",
    "num_images": 40,
    "num_result_ids": 40,
}
# What the web front sends for its 3000 results, of which the first page has its details.
FRONT = CLIENT | {
    "num_images": 10,
    "num_result_ids": 3000,
    "use_violence_detector": False,
    "aesthetic_score": "",
    "aesthetic_weight": "0.5",
}
VECTOR = {"modality": "image", "num_images": 5, "indice_name": "laion"}


def test_what_clip_client_asks(world: World) -> None:
    response = world.post(**CLIENT)
    assert response.status_code == 200
    rows = response.json()
    expected = world.nearest(encode("a red circle"), 40, is_safe=True, dedup=0.94)
    assert rows_of(world, [row["id"] for row in rows]) == expected
    for row, number in zip(rows, expected, strict=True):
        assert row.keys() == DETAILS | {"id", "similarity"}
        assert row["url"] == f"http://example.org/{number}.jpg"
        assert row["caption"] == f"naïve picture {number} “quoted”"
        assert (row["width"], row["height"]) == (100 + number, 200 + number)
        cosine = world.shard.image[number].astype(np.float64) @ encode("a red circle")
        cosine /= np.linalg.norm(world.shard.image[number].astype(np.float64))
        assert row["similarity"] == pytest.approx(cosine, abs=1e-5)
    assert response.headers[IGNORED] == "use_violence_detector, aesthetic_score, aesthetic_weight"


def test_what_the_front_asks(world: World) -> None:
    response = world.post(**FRONT)
    rows = response.json()
    expected = world.nearest(encode("a red circle"), 3000, is_safe=True, dedup=0.94)
    assert rows_of(world, [row["id"] for row in rows]) == expected
    assert all(row.keys() == DETAILS | {"id", "similarity"} for row in rows[:10])
    assert all(row.keys() == {"id", "similarity"} for row in rows[10:])
    assert response.headers[IGNORED] == "aesthetic_weight"


def test_text_comes_before_image_before_url_before_embedding(
    world: World, picture_host: str
) -> None:
    fields = {
        "text": "a red circle",
        "image": encoded(png()),
        "image_url": f"{picture_host}/blue.png",
        "embedding_input": world.vector(17),
    }
    queries = {
        "text": encode("a red circle"),
        "image": encode(png()),
        "image_url": encode(png("blue")),
        "embedding_input": world.shard.image[17],
    }
    while fields:
        first = next(iter(fields))
        got = rows_of(world, world.ids(**VECTOR, **fields))
        assert got == world.nearest(queries[first], 5)
        for nothing in (None, "") if first == "text" else (None,):
            rest = {name: value for name, value in fields.items() if name != first}
            if rest:
                assert world.ids(**VECTOR, **fields | {first: nothing}) == world.ids(
                    **VECTOR, **rest
                )
        del fields[first]


@pytest.mark.parametrize("field", sorted(CLIENT))
def test_null_and_absent_are_alike(world: World, field: str) -> None:
    with_null = CLIENT | {field: None}
    without = {name: value for name, value in CLIENT.items() if name != field}
    one, other = world.post(**with_null), world.post(**without)
    assert (one.status_code, one.json()) == (other.status_code, other.json())
    assert one.headers.get(IGNORED) == other.headers.get(IGNORED)


def test_defaults(world: World) -> None:
    """Of everything: a hundred pictures of the first table, none left out."""
    got = world.post(text="a star").json()
    assert rows_of(world, [row["id"] for row in got]) == world.nearest(encode("a star"), 100)


@pytest.mark.parametrize("modality", ["image", "text"])
def test_modality(world: World, modality: str) -> None:
    got = world.ids(**VECTOR | {"modality": modality}, embedding_input=world.vector(17))
    assert rows_of(world, got) == world.nearest(world.shard.image[17], 5, modality)


@pytest.mark.parametrize(
    ("num_images", "num_result_ids", "rows", "detailed"),
    [(3, 8, 8, 3), (8, 3, 3, 3), (0, 4, 4, 0), (4, None, 4, 4), (None, 4, 4, 4), ("6", 7.0, 7, 6)],
)
def test_how_many(
    world: World, num_images: Any, num_result_ids: Any, rows: int, detailed: int
) -> None:
    got = world.post(text="a star", num_images=num_images, num_result_ids=num_result_ids).json()
    assert rows_of(world, [row["id"] for row in got]) == world.nearest(encode("a star"), rows)
    assert [len(row) > 2 for row in got] == [True] * detailed + [False] * (rows - detailed)


def test_a_picture_in_base64_may_have_line_breaks(world: World) -> None:
    lines = base64.encodebytes(png()).decode()
    assert world.ids(**VECTOR, image=lines) == world.ids(**VECTOR, image=encoded(png()))


def test_duplicates_are_folded_and_the_answer_refilled(world: World) -> None:
    query = world.vector(99)
    plain = world.ids(**VECTOR, embedding_input=query)
    assert set(rows_of(world, plain)) <= set(range(99, 161))
    folded = rows_of(world, world.ids(**VECTOR, embedding_input=query, deduplicate=True))
    assert folded == world.nearest(world.shard.image[99], 5, dedup=0.94)
    assert len(folded) == 5 and len(set(folded) & set(range(99, 161))) == 1
    assert world.ids(**VECTOR, embedding_input=query, deduplicate=False) == plain


def test_safety_leaves_out_what_is_tagged_and_refills(world: World) -> None:
    got = world.post(
        **VECTOR | {"num_images": 50}, embedding_input=world.vector(2), use_safety_model=True
    ).json()
    assert rows_of(world, [row["id"] for row in got]) == world.nearest(
        world.shard.image[2], 50, is_safe=True
    )
    assert {row["NSFW"] for row in got} == {"UNLIKELY", ""}


def test_a_table_without_tags_names_the_field(world: World) -> None:
    response = world.post(
        **VECTOR | {"indice_name": "bare"}, embedding_input=world.vector(2), use_safety_model=True
    )
    assert response.headers[IGNORED] == "use_safety_model"
    assert rows_of(world, [row["id"] for row in response.json()]) == world.nearest(
        world.shard.image[2], 5
    )
    assert all(row.keys() == {"id", "similarity", "url"} for row in response.json())


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({}, None),
        ({"use_mclip": False, "use_violence_detector": None, "aesthetic_score": ""}, None),
        ({"use_mclip": True}, "use_mclip"),
        ({"aesthetic_score": "9", "aesthetic_weight": "x"}, "aesthetic_score, aesthetic_weight"),
        ({"aesthetic_score": [1, {"a": None}]}, "aesthetic_score"),
        ({"use_violence_detector": "yes"}, "use_violence_detector"),
        ({"unheard_of": "x\r\nSet-Cookie: a=b"}, None),
    ],
)
def test_what_is_ignored_is_named_and_changes_nothing(
    world: World, fields: dict[str, Any], named: str | None
) -> None:
    plain = world.post(**VECTOR, text="a star")
    response = world.post(**VECTOR, text="a star", **fields)
    assert response.json() == plain.json()
    assert response.headers.get(IGNORED) == named


def test_other_tables_by_name(world: World) -> None:
    names = world.http.get("/indices-list").json()
    assert names == ["laion", "laion5B_L_14", "bare"]
    for name in ("laion5B-L-14", "laion5B_L_14"):
        assert max(world.ids(text="a star", indice_name=name)) < 20
    response = world.post(text="a star", indice_name="laion2B")
    assert response.status_code == 404
    assert "laion2B" in reason(response) and "laion5B_L_14" in reason(response)


def reason(response: httpx.Response) -> str:
    """Why a request failed: JSON with one line, whatever went wrong."""
    assert response.headers["content-type"].startswith("application/json")
    message = response.json()["error"]["message"]
    assert message and "\n" not in message
    return str(message)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"text": 5}, "text"),
        ({"text": ["a"]}, "text"),
        ({"text": " \n"}, "words"),
        ({"text": "x" * 100_001}, "text"),
        ({"image": 5}, "image"),
        ({"image": "no base64!"}, "base64"),
        ({"image": "é"}, "base64"),
        ({"image": ""}, "picture"),
        ({"image": encoded(b"no picture")}, "picture"),
        ({"image": encoded(png()[:60])}, "picture"),
        ({"image_url": 5}, "image_url"),
        ({"image_url": ""}, "http"),
        ({"image_url": "file:///etc/passwd"}, "http"),
        ({"image_url": "http://169.254.169.254/latest/meta-data/"}, "no public address"),
        ({"image_url": "http://2130706434:80/"}, "no public address"),
        ({"embedding_input": []}, "embedding_input"),
        ({"embedding_input": [1.0, 2.0]}, "dimension 2"),
        ({"embedding_input": [[1.0] * DIM]}, "embedding_input"),
        ({"embedding_input": ["a"] * DIM}, "embedding_input"),
        ({"embedding_input": [float("nan")] * DIM}, "embedding_input"),
        ({"embedding_input": [1e300] * DIM}, "embedding_input"),
        ({"embedding_input": [0.0] * DIM}, "direction"),
        ({"embedding_input": {"0": 1.0}}, "embedding_input"),
        ({"text": "a", "modality": "sound"}, "modality"),
        ({"text": "a", "modality": 1}, "modality"),
        ({"text": "a", "num_images": -1}, "num_images"),
        ({"text": "a", "num_images": 0}, "num_images"),
        ({"text": "a", "num_images": 1.5}, "num_images"),
        ({"text": "a", "num_images": "many"}, "num_images"),
        ({"text": "a", "num_result_ids": 0}, "num_result_ids"),
        ({"text": "a", "num_result_ids": 10**9}, "num_result_ids"),
        ({"text": "a", "num_result_ids": 10**30}, "num_result_ids"),
        ({"text": "a", "deduplicate": "perhaps"}, "deduplicate"),
        ({"text": "a", "use_safety_model": []}, "use_safety_model"),
        ({"text": "a", "indice_name": 3}, "indice_name"),
        ({"text": "a", "indice_name": "bare"} | {"modality": "text"}, "text embeddings"),
        ({}, "text"),
        ({"text": ""}, "text"),
        ({"text": None, "image": None, "image_url": None, "embedding_input": None}, "text"),
    ],
)
def test_a_wrong_field_is_named(world: World, fields: dict[str, Any], named: str) -> None:
    response = world.post(**fields)
    assert response.status_code in (400, 422), response.text
    assert named in reason(response)


@pytest.mark.parametrize(
    "body",
    [
        *(
            b"",
            b"{",
            b"[]",
            b"null",
            b"5",
            b'"text"',
            b"\xff\xfe",
            b'{"text": "\xff"}',
            b"{'a': 1}",
        ),
        *(b'{"text": "\\ud800"}', b"[" * 100_000, b'{"a":' * 100_000, b"text=a+star"),
        b'{"text": "a", "num_images": 1' + b"0" * 5000 + b"}",
    ],
)
@pytest.mark.parametrize("path", ["/knn-service", "/metadata"])
def test_what_is_no_json_object_is_refused(world: World, path: str, body: bytes) -> None:
    response = world.http.post(path, content=body)
    assert response.status_code == 422, response.text
    assert reason(response)


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "application/json",
        "text/plain;charset=UTF-8",
        "application/x-www-form-urlencoded",
        "x",
    ],
)
def test_json_is_read_whatever_it_calls_itself(world: World, content_type: str | None) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    body = json.dumps({**VECTOR, "text": "a star"})
    response = world.http.post("/knn-service", content=body, headers=headers)
    assert response.json() == world.post(**VECTOR, text="a star").json()


def test_metadata_of_rows_in_the_order_of_their_ids(world: World) -> None:
    numbers = [7, 399, 0, 7]
    ids = [3 * 2**32 + number for number in numbers]
    got = world.post("/metadata", indice_name="laion", ids=ids).json()
    assert [row["id"] for row in got] == ids
    for row, number in zip(got, numbers, strict=True):
        known = row["metadata"]
        assert known["url"] == f"http://example.org/{number}.jpg"
        assert known["NSFW"] == world.tags[number]
        assert known["width"] == 100 + number
        assert not any("embedding" in name for name in known)
        if number == 7:
            assert known["similarity"] is None  # unknown, and JSON has no NaN
    assert world.post("/metadata", indice_name="laion", ids=[]).json() == []
    assert len(world.post("/metadata", ids=ids[:1]).json()) == 1


def test_what_a_search_finds_has_metadata(world: World) -> None:
    rows = world.post(text="a star", num_images=2, num_result_ids=30).json()
    ids = [row["id"] for row in rows]
    found = world.post("/metadata", indice_name="laion", ids=ids).json()
    assert [row["metadata"]["url"] for row in found[:2]] == [row["url"] for row in rows[:2]]
    assert len(found) == 30


@pytest.mark.parametrize(
    ("fields", "status", "named"),
    [
        ({"ids": [1]}, 404, "no row 1"),
        ({"ids": [2**63]}, 422, "ids"),
        ({"ids": ["a"]}, 422, "ids"),
        ({"ids": 5}, 422, "ids"),
        ({}, 422, "ids"),
        ({"ids": None}, 422, "ids"),
        ({"ids": list(range(10_001))}, 422, "ids"),
        ({"ids": [], "indice_name": 5}, 422, "indice_name"),
        ({"ids": [], "indice_name": "nope"}, 404, "nope"),
    ],
)
def test_wrong_questions_for_metadata(
    world: World, fields: dict[str, Any], status: int, named: str
) -> None:
    response = world.post("/metadata", **fields)
    assert response.status_code == status, response.text
    assert named in reason(response)


def test_the_metrics_summary_counts(world: World) -> None:
    def counted() -> dict[str, int]:
        text = world.http.get("/metrics-summary").text
        steps = re.findall(r"^(\w+_time) .*?(\d+) +\d+\.\d+s +[\d.]+%$", text, re.MULTILINE)
        return {"all": int(re.findall(r"Among (\d+) calls", text)[0])} | {
            name: int(calls) for name, calls in steps
        }

    world.post(text="a star")
    before = counted()
    world.post(text="a star that nobody has asked for")
    world.post(image=encoded(png()))
    world.post(embedding_input=world.vector(3))
    after = counted()
    assert after["all"] - before["all"] == 3
    assert after["text_clip_inference_time"] - before["text_clip_inference_time"] == 1
    assert after["image_clip_inference_time"] - before["image_clip_inference_time"] == 1
    assert after["knn_index_time"] - before["knn_index_time"] == 3
    response = world.http.get("/metrics-summary")
    assert response.headers["content-type"].startswith("text/plain")


def test_pages_of_other_origins_may_ask(world: World) -> None:
    """As the web front does, whose requests are simple ones: no preflight comes before."""
    headers = {"Origin": "http://front.example.org", "Content-Type": "text/plain;charset=UTF-8"}
    response = world.http.post("/knn-service", content=json.dumps(CLIENT), headers=headers)
    assert response.headers["access-control-allow-origin"] in ("*", headers["Origin"])
    assert IGNORED.lower() in response.headers["access-control-expose-headers"].lower()
    preflight = world.http.options(
        "/knn-service",
        headers={
            "Origin": headers["Origin"],
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "content-type",
        },
    )
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] in ("*", headers["Origin"])


def test_a_picture_is_fetched_by_its_address(world: World, picture_host: str) -> None:
    got = world.ids(**VECTOR, image_url=f"{picture_host}/blue.png")
    assert rows_of(world, got) == world.nearest(encode(png("blue")), 5)
    response = world.post(image_url=f"{picture_host}/none.png")
    assert response.status_code == 400 and "none.png" in reason(response)


def test_a_picture_that_is_a_file_comes_with_its_row(world: World) -> None:
    fields = {"indice_name": "laion5B-L-14", "num_images": 20, "text": "a star"}
    rows = {row["id"]: row for row in world.post(**fields).json()}
    assert [row_id for row_id, row in rows.items() if "image" in row] == [0]
    shown = Image.open(io.BytesIO(base64.b64decode(rows[0]["image"])))
    assert (shown.format, shown.size) == ("JPEG", (40, 30))
    red, green, blue = shown.resize((1, 1)).getpixel((0, 0))  # type: ignore[misc]
    assert red > 200 and green < 50 and blue < 50
    found = world.post("/metadata", indice_name="laion5B-L-14", ids=[1, 0, 0]).json()
    assert "image" not in found[0]["metadata"]
    assert found[1] == found[2] and found[1]["metadata"]["image"] == rows[0]["image"]


def test_the_pages_examples_are_answered(world: World) -> None:
    page = Path(__file__).parents[1] / "docs" / "clip-retrieval.md"
    blocks = re.findall(r"```console\n\$ (curl .*?)```", page.read_text(), re.DOTALL)
    commands = [shlex.split(line) for block in blocks for line in block.split("\n$ ")]
    assert len(commands) == 4
    for curl, address, *data in commands:
        assert curl == "curl" and data[:1] in ([], ["-d"])
        address = address.replace("http://127.0.0.1:1234", world.url)
        form = {"Content-Type": "application/x-www-form-urlencoded"}  # what curl calls it
        response = (
            httpx.post(address, content=data[1], headers=form) if data else httpx.get(address)
        )
        assert response.status_code == 200, response.text


def test_a_client_that_can_be_told_only_a_url_gives_its_key_there(world: World) -> None:
    key = "k" * 24
    with serving(replace(world.settings, keys=(hash_key(key),))) as served:
        for user, status in ((f":{key}", 200), (f"anyone:{key}", 200), (f"{key}:", 401)):
            url = served.url.replace("://", f"://{user}@") + "/knn-service"
            response = httpx.post(url, content=json.dumps({"text": "a star"}))
            assert response.status_code == status
        broken = {"Authorization": "Basic !"}
        assert httpx.get(f"{served.url}/indices-list", headers=broken).status_code == 401


def test_a_network_is_given_as_one(run: Run) -> None:
    for wrong in ("10.1.0.0/33", "10.1.0.7/16", "example.org"):
        result = run("serve", "--picture-network", wrong)
        assert result.returncode == 2
        assert f"--picture-network {wrong}" in result.stderr


_SCALARS = st.one_of(
    *(st.none(), st.booleans(), st.integers(), st.integers(-3, 60), st.floats(), st.text()),
    st.sampled_from(["", "laion", "bare", "image", "text", "a star", "http://10.0.0.1/", "AAAA"]),
)
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=3),
)
_NEAR = {
    "text": st.text(max_size=30),
    "image": st.binary(max_size=40).map(encoded) | st.just(encoded(png())),
    "image_url": st.sampled_from(
        ["http://127.0.0.2/", "http://[::1]/a", "ftp://a", "//", "http://"]
    ),
    "embedding_input": st.lists(st.floats(-1, 1), min_size=DIM, max_size=DIM),
    "modality": st.sampled_from(["image", "text"]),
    "num_images": st.integers(-1, 40),
    "num_result_ids": st.integers(-1, 40),
    "indice_name": st.sampled_from(["laion", "bare", "laion5B-L-14", "nope"]),
    "deduplicate": st.booleans(),
    "use_safety_model": st.booleans(),
    "use_violence_detector": st.booleans(),
    "use_mclip": st.booleans(),
    "aesthetic_score": st.integers(0, 9),
    "aesthetic_weight": st.floats(0, 1),
}
_FIELDS = st.fixed_dictionaries(
    {}, optional={name: st.one_of(near, near, near, _VALUES) for name, near in _NEAR.items()}
)


@settings(
    max_examples=examples(30, 100),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(body=_FIELDS | _VALUES)
@example(body={"text": "\ud800"})
@example(body={"text": "\0"})
@example(body={"num_images": float("inf"), "text": "a"})
def test_no_request_breaks_the_service(world: World, body: Any) -> None:
    for path in ("/knn-service", "/metadata"):
        response = world.http.post(path, content=json.dumps(body).encode("utf-8", "replace"))
        assert response.status_code in (200, 400, 404, 422), response.text
        if response.status_code == 200:
            assert isinstance(response.json(), list)
        else:
            assert reason(response)
