"""Commands on a database that cliphouse serve has open go through it, and print what they print
without it. Nobody but the service's owner has that way in, and it only reads."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest

import cliphouse
from cliphouse.engine.door import Door, read_door
from cliphouse.errors import QueryError, TableError
from cliphouse.search.condition import ConditionError
from serving import Drawn
from test_serve_cli import Command, ask, listener, serve, without_times

TYPES = (
    "SELECT toDate('2026-01-02') AS day, toDateTime64('2026-01-02 03:04:05.678', 3, 'UTC') AS at, "
    "toDecimal64(1.25, 2) AS price, [1, 2] AS list, NULL AS nothing, toLowCardinality('x') AS low, "
    "generateUUIDv4() = generateUUIDv4() AS same, map('a', 1) AS pairs, (1, 'b') AS two, "
    "toUInt64(18446744073709551615) AS large, nan AS odd"
)
SEARCHES: tuple[tuple[object, ...], ...] = (
    ("a red circle", "-k", 5),
    ("a red circle", "-k", 5, "--format", "csv", "--where", "width > 100 AND score > 0"),
    ("a blue star", "--add", "2:id:4", "--subtract", "small", "--dedup", 0.9, "--format", "jsonl"),
    ("picture.jpg", "-k", 3, "--modality", "text", "--format", "csv", "--sort", "-caption"),
    ("vector.npy", "--offset", 2, "--format", "csv"),
    ("id:7", "-k", 4, "--columns", "url", "--mode", "exact"),
)
STATEMENTS = (
    "SELECT id, caption, width FROM laion ORDER BY id LIMIT 5",
    "SELECT count(), any(NSFW) FROM laion WHERE width > 5000",
    "SELECT caption FROM laion WHERE 0",
    "SELECT id, image_embedding FROM laion ORDER BY id LIMIT 3 FORMAT CSV",
    "SELECT id, caption FROM laion ORDER BY id LIMIT 3 FORMAT PrettyCompactMonoBlock",
    "SELECT number FROM numbers(70000) FORMAT JSONEachRow",
    "SELECT number FROM numbers(30000) FORMAT TSVWithNamesAndTypes SETTINGS max_block_size = 1000",
    "SELECT number FROM numbers(30000) FORMAT CSVWithNames SETTINGS max_block_size = 10000 ",
    "SELECT number FROM numbers(3) FORMAT Arrow SETTINGS max_threads = 1",
    "WITH 3 AS three SELECT three, max(id) FROM laion",
    "SET max_block_size = 1234; SELECT getSetting('max_block_size')",
    "EXPLAIN SELECT 1",
    "EXPLAIN AST SELECT 1",
    "EXPLAIN AST SELECT 1 FORMAT JSON",
    "SELECT id FROM laion LIMIT 1 -- FORMAT JSON",
    "SHOW TABLES",
    "DESCRIBE TABLE laion",
    TYPES,
)

EXPORTS = ("jsonl", "parquet")


@dataclass(frozen=True)
class Asked:
    """What commands have printed without a service, by their arguments."""

    printed: dict[tuple[object, ...], bytes]
    folder: Path
    service: Command
    door: Door


def _questions() -> list[tuple[object, ...]]:
    several = "; ".join(STATEMENTS)
    return [
        *(("search", *question) for question in SEARCHES),
        *(("info",), ("info", "--json"), ("sql", several), ("sql", TYPES, "--format", "json")),
        ("sql", "SELECT {v:Array(Float32)}[1]", "--param", "v=image:picture.jpg"),
        ("sql", "SELECT 1 AS a, 2 AS b", "--format", "parquet"),
    ]


@pytest.fixture(scope="module")
def asked(drawn: Drawn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    """A service, and what was printed before it began."""
    folder = tmp_path_factory.mktemp("asking")
    np.save(folder / "vector.npy", drawn.text[4])
    (folder / "picture.jpg").write_bytes((drawn.pictures / "picture_00007.jpg").read_bytes())
    with pytest.MonkeyPatch.context() as patch, cliphouse.open(drawn.db) as kept:
        patch.chdir(folder)
        _ = kept.connection  # keeps the engine
        printed = {question: _print(*question, "--db", drawn.db) for question in _questions()}
        (folder / "exports").mkdir()
        for form in EXPORTS:
            _export(drawn, folder / "exports" / form, form)
    with serve(drawn.folder, "--db", drawn.db) as service:
        door = read_door(drawn.db)
        assert door is not None
        yield Asked(printed, folder, service, door)


def _print(*arguments: object) -> bytes:
    result = ask(*arguments)
    assert result.exit_code == 0, (arguments, result.stderr, result.exception)
    return result.stdout_bytes


def test_what_is_printed_is_the_same(
    asked: Asked, drawn: Drawn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(asked.folder)
    for question, expected in asked.printed.items():
        assert _print(*question, "--db", drawn.db) == expected, question


def test_json_is_the_same_but_for_times(asked: Asked, drawn: Drawn) -> None:
    question = ("search", "a red circle", "--json", "--weak", "--db", drawn.db)
    told = json.loads(_print(*question))
    with httpx.Client(base_url=asked.service.address) as http:
        same = http.post("/api/search", json={"words": "a red circle", "weak": True}).json()
    assert [hit["id"] for hit in told["hits"]] == [hit["id"] for hit in same["hits"]]
    assert told["search"]["rows_read"] is None  # others may have read meanwhile
    assert without_times(told)["search"] == without_times(same)["search"]


def test_sql_encodes_with_the_model_and_the_folder_of_the_caller(
    asked: Asked, drawn: Drawn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(asked.folder)
    with cliphouse.open(drawn.db) as table:
        (found,) = table.sql("SELECT encode_image('picture.jpg') AS v").column("v").to_pylist()
        assert np.allclose(found, table.encode(Path("picture.jpg")), atol=1e-6)


@pytest.mark.parametrize("form", EXPORTS)
def test_an_export_writes_the_same(asked: Asked, drawn: Drawn, tmp_path: Path, form: str) -> None:
    _export(drawn, tmp_path / form, form)
    assert _contents(tmp_path / form) == _contents(asked.folder / "exports" / form)


def _export(drawn: Drawn, output: Path, form: str) -> None:
    line = _print(
        *("export", output, "--format", form, "--db", drawn.db),
        *("--search", "a red circle", "-k", 20),
    )
    assert line.startswith(b"20 rows into ")


def _contents(path: Path) -> dict[str, bytes]:
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    return {file.name: file.read_bytes() for file in files if file.is_file()}


def test_a_program_reads_through_it_too(asked: Asked, drawn: Drawn) -> None:
    with cliphouse.open(drawn.db) as table:
        assert table.info.dim == 512
        vector = drawn.text[9]
        assert [hit.id for hit in table.search(vector)] == drawn.nearest(vector)[:10]
        assert np.array_equal(
            table.search(vector).to_numpy()[0], drawn.image[drawn.nearest(vector)[0]]
        )
        assert table.check().is_good
        assert table.sql("SELECT count() AS n FROM laion").column("n").to_pylist() == [60]


WRITES = (
    "INSERT INTO laion SELECT * FROM laion",
    "CREATE TABLE more (n Int64) ENGINE = MergeTree ORDER BY n",
    "ALTER TABLE laion DELETE WHERE 1",
    "DROP TABLE laion",
    "TRUNCATE TABLE laion",
    "OPTIMIZE TABLE laion FINAL",
    "RENAME TABLE laion TO other",
    "INSERT INTO FUNCTION file('{folder}/out.csv') SELECT 1",
    "SELECT * FROM file('{folder}/in.csv')",
    "SELECT * FROM url('http://127.0.0.1:1/', 'LineAsString')",
    "SELECT * FROM remote('127.0.0.1:1', system.one)",
    "WITH 1 AS x INSERT INTO laion SELECT * FROM laion",
    "BACKUP TABLE laion TO File('{folder}/backup')",
)


def test_nothing_is_written_through_it(asked: Asked, drawn: Drawn, tmp_path: Path) -> None:
    with cliphouse.open(drawn.db) as table:
        for statement in WRITES:
            with pytest.raises(TableError, match=r"served at http.*can only read"):
                table.sql(statement.format(folder=tmp_path))
        with pytest.raises(TableError, match=r"can only read tables .*--output FILE"):
            table.connection.raw(f"SELECT 1 INTO OUTFILE '{tmp_path}/out.csv' FORMAT CSV")
        assert table.sql("SELECT count() AS n FROM laion").column("n").to_pylist() == [60]
    assert list(tmp_path.iterdir()) == []


def test_reading_only_cannot_be_taken_back(asked: Asked, drawn: Drawn) -> None:
    with cliphouse.open(drawn.db) as table:
        for text in ("SET readonly = 0", "SELECT 1 SETTINGS readonly = 0"):
            with pytest.raises(TableError, match=r"can only read tables .*readonly"):
                table.sql(text)
        with pytest.raises(TableError, match="can only read"):
            table.sql("DROP TABLE laion")


def test_errors_are_those_of_the_engine(asked: Asked, drawn: Drawn) -> None:
    with cliphouse.open(drawn.db) as table:
        for text, kind, told in (
            ("SELECT nothing FROM laion", QueryError, "nothing"),
            ("SELEC 1", QueryError, "Syntax error"),
            ("SELECT sum(", QueryError, r"position 12 \(end of query\): \(\. Unmatched"),
            ("SELECT throwIf(number > 100000) FROM numbers(200000)", QueryError, "throwIf"),
            ("SELECT * FROM absent", TableError, "laion.chdb: there is no table absent$"),
            ("SELECT * FROM default.absent", TableError, "no table default.absent$"),
            ("WITH x AS (SELECT 1) SELECT * FROM x JOIN absent ON 1", TableError, "table absent$"),
            ("SELECT * FROM file('absent.csv')", TableError, "files are not read"),
            ("SELECT * FROM absent.x", TableError, "there is no database absent$"),
        ):
            with pytest.raises(kind, match=told):
                table.sql(text)
    for where, told in (
        ("widht > 3", "position 1, at 'widht > 3': the table has no column widht"),
        ("id IN (SELECT 1 FROM absent)", "position 22, at 'absent)': there is no table absent"),
    ):
        named = ask("search", "x", "--where", where, "--db", drawn.db)
        assert isinstance(named.exception, ConditionError)
        assert str(named.exception.named("--where")).startswith(f"--where: {told}")


def test_the_one_table_of_a_service_is_named(asked: Asked) -> None:
    found = ask("info", "--table", "other", "--server", asked.service.address)
    assert str(found.exception).endswith("no table 'other'; there is laion")


def test_a_large_result_takes_little_memory_there(asked: Asked, drawn: Drawn) -> None:
    process = psutil.Process(listener(asked.service.address))
    statement = "SELECT number, repeat('x', 100) AS text FROM numbers({})"
    with cliphouse.open(drawn.db) as table:
        table.sql(statement.format(300_000))
        before = process.memory_info().rss
        rows = table.sql(statement.format(1_500_000))
        grown = process.memory_info().rss - before
    assert rows.num_rows == 1_500_000
    assert rows.column("number")[-1].as_py() == 1_499_999
    assert rows.nbytes > 160e6
    assert grown < 110e6


def test_only_the_owner_is_let_in(asked: Asked, drawn: Drawn) -> None:
    door, query, session = asked.door, {"query": "SELECT 1"}, f"/sessions/{os.getpid()}-x"
    url, good = f"http://{door.host}{session}", {"Authorization": f"Bearer {door.token}"}
    assert httpx.get(url, params=query, headers=good).text == "1\n"
    for headers in (
        {},
        {"Authorization": f"Bearer {door.token[:-1]}"},
        {"Authorization": f"Bearer {door.token}x"},
        {"Authorization": door.token},
        good | {"Host": "example.org"},
        good | {"Host": f"localhost:{door.port}"},
        good | {"Origin": "http://example.org"},
        good | {"Origin": f"http://{door.host}"},
    ):
        answer = httpx.get(url, params=query, headers=headers)
        assert (answer.status_code, "owner" in answer.text) == (403, True), headers
    for path in (session, f"{session}/encoder", "/jobs"):
        public = httpx.request(
            "POST", f"{asked.service.address}{path}", headers=good, content="SELECT 1"
        )
        assert public.status_code in (404, 405), path


def test_the_file_is_the_owners_alone(asked: Asked, drawn: Drawn) -> None:
    (path,) = drawn.folder.glob(".*.door")
    assert path.stat().st_mode & 0o777 == 0o600
    assert asked.door.token not in repr(asked.door)
    for process in psutil.process_iter(["cmdline"]):
        assert not any(asked.door.token in word for word in process.info["cmdline"] or ())
    path.chmod(0o640)
    try:
        assert read_door(drawn.db) is None
        with pytest.raises(TableError, match=f"served at {asked.service.address}"):
            _ = cliphouse.open(drawn.db, wait=0).info
    finally:
        path.chmod(0o600)
    assert read_door(drawn.db) == asked.door
