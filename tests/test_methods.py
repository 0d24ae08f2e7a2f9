"""A search method is one file: what a toy adds there is found everywhere."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

import cliphouse
from cliphouse.errors import QueryError
from cliphouse.schema.facts import read_facts
from cliphouse.search.methods import METHODS, method_of, modes
from cliphouse.search.planner import choose
from cliphouse.search.request import Request
from shard_files import MadeShard, make_shard

TOY = Path(__file__).with_name("toy_method.py")
ROWS, DIM = 120, 16


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("toy")
    make_shard(folder / "s", 0, ROWS, DIM)
    with cliphouse.open(folder / "laion.chdb") as table:
        table.ingest(folder / "s")
    return folder


@pytest.fixture
def made(folder: Path) -> MadeShard:
    return make_shard(folder / "s", 0, ROWS, DIM)


def toy(folder: Path, *arguments: str) -> str:
    run = subprocess.run(
        [sys.executable, TOY, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def nearest(made: MadeShard, row: int, k: int) -> list[int]:
    vectors = made.image.astype(np.float64)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return [int(i) for i in np.argsort(-(unit @ unit[row]))[:k]]


def test_the_command_line_searches_by_it(folder: Path, made: MadeShard) -> None:
    listed = toy(folder, "search", "--help")
    assert "toy" in listed
    assert "--probes" in listed
    assert "How many toys are looked at." in " ".join(listed.replace("│", " ").split())
    found = json.loads(toy(folder, "search", "id:7", "--mode=toy", "--probes=9", "--json"))
    assert (found["search"]["mode"], found["search"]["width"]) == ("toy", 9)
    assert [hit["id"] for hit in found["hits"]] == nearest(made, 7, 10)


def test_recall_measures_it(folder: Path) -> None:
    measured = json.loads(toy(folder, "recall", "--queries=5", "--json"))
    mine = [(e["width"], e["index"]) for e in measured if e["mode"] == "toy"]
    assert mine[0] == (3, "toy box")
    assert all(e["recall"] == 1 for e in measured if e["mode"] == "toy")


def test_a_plan_has_what_a_table_keeps_for_it(folder: Path) -> None:
    plan = json.loads(toy(folder, "plan", "--rows=1M", "--cores=2", "--memory=8GB", "--json"))
    names = {estimate["name"] for estimate in plan["estimates"]}
    assert {"Float32, toys", "BFloat16, toys", "Float32, exact"} <= names


@pytest.fixture
def service(folder: Path) -> Iterator[str]:
    """The address of a service whose program has the toy."""
    command = [sys.executable, TOY, "serve", "--port=0"]
    process = subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    address = next(
        word
        for line in process.stdout
        for word in line.split()
        if word.startswith("http://127.0.0.1:")
    )
    reader = threading.Thread(target=process.stdout.read, daemon=True)
    reader.start()
    yield address
    process.terminate()
    process.wait(30)
    reader.join(30)
    process.stdout.close()


def test_rest_the_page_and_the_metrics_know_it(service: str, made: MadeShard) -> None:
    with httpx.Client(base_url=service, timeout=60) as client:
        body = client.get("/openapi.json").json()["components"]["schemas"]["SearchBody"]
        assert body["properties"]["mode"]["enum"] == ["auto", "exact", "codes", "hnsw", "toy"]
        assert "probes" in body["properties"]
        asked = {"id": 7, "mode": "toy", "probes": 4}
        found = client.post("/api/search", json=asked).json()
        assert (found["search"]["mode"], found["search"]["width"]) == ("toy", 4)
        assert [hit["id"] for hit in found["hits"]] == nearest(made, 7, 10)
        offered = client.get("/api/info").json()["fields"]["modes"]
        assert offered[-1] == {"name": "toy", "label": "a toy", "mark": " probes "}
        copied = client.post("/api/search/code", json=asked).json()
        assert "--probes=4" in copied["command"]
        figures = client.get("/metrics").text.splitlines()
        counted = [line for line in figures if line.startswith("cliphouse_searches_total{")]
        assert counted == [
            f'cliphouse_searches_total{{mode="{mode}"}} {count}'
            for mode, count in (("exact", 0.0), ("codes", 0.0), ("hnsw", 0.0), ("toy", 1.0))
        ]


def test_an_unknown_mode_is_an_error_everywhere(folder: Path) -> None:
    listed = ", ".join(modes())
    with pytest.raises(QueryError, match=f"mode 'annoy': it must be one of {listed}"):
        Request(mode="annoy")
    with pytest.raises(QueryError, match=f"mode 'annoy': it must be one of {listed}"):
        method_of("annoy")
    known = Request()
    object.__setattr__(known, "mode", "annoy")
    with cliphouse.open(folder / "laion.chdb") as table, pytest.raises(QueryError, match="annoy"):
        choose(known, "text", read_facts(table.handle))
    assert set(METHODS) == {"exact", "codes", "hnsw"}
