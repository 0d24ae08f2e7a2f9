"""How to search, said once: a field of Request is an option of the command line, of REST, of the
client and of searches copied as code."""

from __future__ import annotations

import inspect
import json
import os
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

import cliphouse
from cliphouse.errors import QueryError
from cliphouse.search.option import Option, options_of
from cliphouse.search.paging import Cursor
from cliphouse.search.request import Request

SOURCE = Path(cliphouse.__file__).parent
FIELD = """\
    patience: int = option(3, help="Seconds to wait.", least=1, most=9)
    is_bold: bool = option(False, help="Print it bold.")
"""
METHOD = """
from cliphouse.search.methods.exact import Exact
from cliphouse.search.methods.method import Width


class Sampling(Exact):
    name = "sampling"
    width = Width("sample", "How many rows mode sampling looks at.", " of ", 50, (5,))
"""
ASK = """
import json, sys, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from cliphouse import Operand, Request, Table
from cliphouse.client import Client
from cliphouse.server.app import create_app
from cliphouse.server.recipe import Recipe
from cliphouse.server.schema import SearchBody
from cliphouse.server.settings import ServeSettings

sent = []

class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        sent.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        answer = json.dumps({"results": []}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *args):
        pass

request = Request(patience=5, is_bold=True)
server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
with Client(f"http://127.0.0.1:{server.server_port}") as client:
    client.search_many(["a cat"], request)
server.shutdown()
recipe = Recipe((Operand(words="a cat"),), request, "laion.chdb", "laion")
schema = create_app(ServeSettings()).openapi()["components"]["schemas"]["SearchBody"]
try:
    Table("none.chdb").search("a cat", patience=10)
except Exception as error:
    refused = str(error)
sampling = Request(mode="sampling", sample=7)
print(json.dumps({
    "sampling": Recipe((Operand(id=1),), sampling, "laion.chdb", "laion").command(),
    "sent": sent[0],
    "read": SearchBody(words="x", patience=7).to_request().patience,
    "schema": schema["properties"],
    "command": recipe.command(),
    "python": recipe.python(),
    "notes": recipe.notes(),
    "refused": refused,
    "alike": Request().fingerprint == request.fingerprint,
}))
"""


def run(source: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(source), "COLUMNS": "200", "NO_COLOR": "1"}
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        env=environment,
        cwd=source,
        timeout=120,
    )


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source with two more fields of Request and one more search method, and nothing else. What
    does not change stays compiled."""
    folder = tmp_path_factory.mktemp("source")
    shutil.copytree(SOURCE, folder / "cliphouse")
    search = folder / "cliphouse" / "search"
    insert(search / "request.py", "\n    def __post_init__", FIELD)
    (search / "methods" / "sampling.py").write_text(METHOD)
    insert(search / "methods" / "__init__.py", ")}\n", ", Sampling()")
    insert(
        search / "methods" / "__init__.py",
        "\nAUTO =",
        "from cliphouse.search.methods.sampling import Sampling\n",
    )
    return folder


@pytest.fixture(scope="module")
def found(changed: Path) -> dict[str, Any]:
    """What ASK finds there."""
    ran = run(changed, "-c", ASK)
    assert ran.returncode == 0, ran.stderr
    told: dict[str, Any] = json.loads(ran.stdout)
    return told


def insert(file: Path, before: str, text: str) -> None:
    source = file.read_text()
    assert source.count(before) == 1
    file.write_text(source.replace(before, f"{text}{before}"))


def test_a_new_field_is_everywhere(found: dict[str, Any]) -> None:
    assert (found["sent"]["patience"], found["sent"]["is_bold"]) == (5, True)
    assert found["read"] == 7
    patience = found["schema"]["patience"]
    assert (patience["minimum"], patience["maximum"], patience["default"]) == (1, 9, 3)
    assert patience["description"] == "Seconds to wait."
    assert found["schema"]["is_bold"]["type"] == "boolean"
    assert "--patience=5 --is-bold" in found["command"]
    assert "    patience=5,\n    is_bold=True,\n" in found["python"]
    assert found["notes"] == ["the SQL leaves out patience=5", "the SQL leaves out is_bold=True"]
    assert found["refused"] == "patience is 10; it must be 1 to 9"
    assert not found["alike"]  # a page of one is no page of the other


def test_the_width_of_a_new_method_is_everywhere(changed: Path, found: dict[str, Any]) -> None:
    assert "sampling" in found["schema"]["mode"]["enum"]
    sample = found["schema"]["sample"]
    assert sample["anyOf"] == [
        {"type": "integer", "minimum": 1, "maximum": 50},
        {"type": "null"},
    ]
    assert sample["description"] == "How many rows mode sampling looks at."
    assert "--mode=sampling --sample=7" in found["sampling"]
    refused = run(changed, "-m", "cliphouse", "search", "a cat", "--sample", "7")
    assert refused.returncode == 2
    assert "sample is the width of mode sampling, not of mode auto" in refused.stderr


def test_a_new_field_is_on_the_command_line(changed: Path) -> None:
    shown = run(changed, "-m", "cliphouse", "search", "--help")
    assert shown.returncode == 0, shown.stderr
    assert "--patience" in shown.stdout
    assert "Seconds to wait." in shown.stdout
    assert "--no-is-bold" in shown.stdout
    refused = run(changed, "-m", "cliphouse", "search", "a cat", "--patience", "99", "--is-bold")
    assert refused.returncode == 2
    assert refused.stderr == "cliphouse: patience is 99; it must be 1 to 9\n"


def test_table_search_spells_the_fields_as_they_are() -> None:
    spelled = inspect.signature(cliphouse.Table.search).parameters
    assert {field.name for field in fields(Request)} <= set(spelled)
    for field in fields(Request):
        assert spelled[field.name].default == field.default


def test_pages_of_a_search_are_alike_in_what_they_find() -> None:
    first = Request(k=5, where="id > 3")
    same = [
        Request(k=9, where="id > 3", offset=7),
        Request(where="id > 3", mode="hnsw", ef=64),
        Request(where="id > 3", filter=cliphouse.Filter()),
    ]
    others = [
        Request(where="id > 4"),
        Request(where="id > 3", metric="l2"),
        Request(where="id > 3", modality="text"),
        Request(where="id > 3", dedup=0.9),
        Request(where="id > 3", filter=cliphouse.Filter(min_width=0)),
    ]
    assert {request.fingerprint for request in same} == {first.fingerprint}
    assert len({request.fingerprint for request in (first, *others)}) == 1 + len(others)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"k": 0}, "k is 0; it must be 1 to 100,000"),
        ({"k": 2.5}, "k is 2.5; it must be a whole number"),
        ({"k": 60_000, "offset": 60_000}, "k [+] offset is 120000; it must be 1 to 100,000"),
        ({"mode": "hnsw", "ef": 100_001}, "ef is 100001; it must be 1 to 100,000"),
        ({"mode": "exact", "ef": 5}, "ef is the width of mode hnsw, not of mode exact"),
        ({"oversampling": 5}, "oversampling is the width of mode codes, not of mode auto"),
        ({"dedup": 0}, "dedup is 0; it is a cosine similarity above 0, up to 1"),
        ({"dedup": float("nan")}, "dedup is nan; it is a cosine similarity above 0, up to 1"),
        ({"dedup": "much"}, "dedup is 'much'; it must be a number"),
        ({"metric": "dot"}, "metric 'dot': it must be one of cosine, l2"),
        ({"modality": "sound"}, "modality 'sound': it must be one of image, text"),
        ({"where": 5}, "where is 5; it must be of type str"),
        ({"cursor": "?"}, "the cursor is none of this search's"),
        ({"cursor": Cursor(0.5, 1, 5, "other")}, "the cursor is of a search with another filter"),
        ({"filter": {"min_weight": 1}}, "filter min_weight: there is no such field"),
    ],
)
def test_what_cannot_be_asked(given: dict[str, Any], message: str) -> None:
    with pytest.raises(QueryError, match=message):
        Request.read(given)


def test_what_json_spells_is_read_as_the_same() -> None:
    plain = Request(k=3, dedup=0.9, filter=cliphouse.Filter(shards=[1, 2], url_host="x.org"))
    request = Request(
        k=3, dedup=0.9, filter=plain.filter, cursor=Cursor(0.25, 7, 3, plain.fingerprint)
    )
    written = {o.name: o.write(v) for o, v in request.values() if v is not None}
    assert Request.read(json.loads(json.dumps(written))) == request
    with pytest.raises(TypeError, match="patience"):
        Request.read({"patience": 3})


def test_every_option_has_help() -> None:
    options: tuple[Option, ...] = options_of(Request)
    assert [option.name for option in options] == [field.name for field in fields(Request)]
    assert all(option.help for option in options)
    assert {option.flag for option in options} >= {"-k", "--ef", "--cursor"}
