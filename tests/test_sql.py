"""cliphouse sql: where statements come from, their parameters, and what is printed."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import re
import subprocess
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from cliphouse.cli.formats import Format, asked_format, check_output, is_format
from cliphouse.cli.timing import timing_line
from cliphouse.engine.answer import Answer
from cliphouse.engine.reading import Reading
from cliphouse.errors import QueryError
from cliphouse.models import load_encoder
from cliphouse.pictures.drawn import write_pictures
from cliphouse.pictures.files import open_picture
from cliphouse.table import Table
from conftest import Run
from forked import python


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    (tmp_path / "laion.chdb").mkdir()
    return tmp_path


def one_line(result: subprocess.CompletedProcess[str]) -> str:
    assert result.returncode == 2, result
    (line,) = result.stderr.strip().splitlines()
    return line


def test_statements_of_every_source(empty: Path, run: Run) -> None:
    (empty / "s.sql").write_text(
        "\ufeff-- makes; a table\n"
        "CREATE TABLE t (id Int64, s String) ENGINE = MergeTree ORDER BY id;\n"
        "INSERT INTO t VALUES (1, 'a;b'), (2, 'c');\nSELECT s FROM t ORDER BY id;\n"
    )
    made = run("sql", "-f", "s.sql", "--format", "csv")
    assert made.stdout == '"s"\n"a;b"\n"c"\n'
    assert len(made.stderr.splitlines()) == 3
    raw = run("sql", "SELECT id, s FROM t ORDER BY id FORMAT TSV; SELECT 5 AS five")
    assert raw.stdout == "1\ta;b\n2\tc\nfive\n5\n"
    command = [*python(), "-m", "cliphouse", "sql", "--format", "jsonl"]
    piped = subprocess.run(
        command, cwd=empty, input="SELECT count() AS n FROM t", capture_output=True, text=True
    )
    assert json.loads(piped.stdout) == {"n": 2}
    named = subprocess.run(
        [*command, "-f", "-"], cwd=empty, input="SELECT 6 AS n", capture_output=True, text=True
    )
    assert json.loads(named.stdout) == {"n": 6}
    run("sql", "SELECT id FROM t ORDER BY id", "-o", "t.parquet")
    assert pq.read_table(empty / "t.parquet").column("id").to_pylist() == [1, 2]
    run("sql", "SET max_threads = 1; SELECT id FROM t ORDER BY id FORMAT TSV", "-o", "t.tsv")
    assert (empty / "t.tsv").read_text() == "1\n2\n"
    plan = run("sql", "EXPLAIN SELECT id FROM t WHERE id > 1; SHOW CREATE TABLE t").stdout
    assert "\n│  Filter column: id > 1\n" in plan
    assert "statement\nCREATE TABLE default.t\n(\n    `id` Int64,\n" in plan


def test_a_statement_may_begin_with_a_comment(empty: Path, run: Run) -> None:
    told = run("sql", "--format", "csv", "-- how many\nSELECT 4 AS n", "--db", "laion.chdb")
    assert told.stdout == '"n"\n4\n', told.stderr


@pytest.mark.parametrize("mark", ["\ufeff", "\u200b", "/* a */ ", "-- a\n", "\u2060 \ufeff"])
def test_what_stands_before_a_statement_costs_no_result(empty: Path, mark: str) -> None:
    with Table(empty / "laion.chdb") as table:
        assert table.sql(f"{mark}SELECT 5 AS five;{mark}").to_pylist() == [{"five": 5}]
        assert table.run(f"{mark}SELECT 5 FORMAT CSV").written == b"5\n"


def test_every_statement_that_returns_rows_is_printed(empty: Path) -> None:
    with Table(empty / "laion.chdb") as table:
        for made in (
            "CREATE TABLE t (id Int64) ENGINE = MergeTree ORDER BY id",
            "INSERT INTO t VALUES (1), (2)",
            "INSERT INTO t SELECT 3",
            "WITH x AS (SELECT 4 AS id) INSERT INTO t SELECT id FROM x",
            "ALTER TABLE t ADD COLUMN s String",
            "OPTIMIZE TABLE t FINAL",
            "SET max_threads = 1",
            "USE default",
            "DELETE FROM t WHERE id = 4",
            "RENAME TABLE t TO u",
            "CREATE VIEW v AS SELECT id FROM u",
            "SYSTEM STOP MERGES u",
        ):
            answer = table.run(made)
            assert answer.rows is not None, made
            assert (answer.rows.num_columns, answer.written) == (0, b""), made
        assert table.sql("SELECT id FROM u ORDER BY id").column(0).to_pylist() == [1, 2, 3]
        for asked in (
            "BACKUP TABLE u TO Null",
            "SHOW TABLES",
            "SHOW CREATE TABLE u",
            "DESCRIBE u",
            "EXISTS u",
            "CHECK TABLE u",
            "EXPLAIN SELECT 1",
            "EXPLAIN AST INSERT INTO u VALUES (1)",
            "FROM u SELECT id",
            "(SELECT 1)",
            "SHOW GRANTS",
        ):
            answer = table.run(asked)
            assert answer.has_result, asked
        assert table.sql("SELECT id FROM u WHERE 0").column_names == ["id"]


def test_the_engine_sees_and_quotes_what_the_user_wrote(empty: Path) -> None:
    with Table(empty / "laion.chdb") as table:
        tree = table.sql("EXPLAIN AST SELECT 1").column("explain").to_pylist()
        assert [line.split()[0] for line in tree] == [
            *("SelectWithUnionQuery", "ExpressionList", "SelectQuery", "ExpressionList"),
            "Literal",
        ]
        assert table.sql("SHOW GRANTS").column_names == ["GRANTS"]
        for wrong, quoted in (("SELECT sum(", r"\(end of query\)"), ("SELECT 'a", r"\('a\): 'a\.")):
            with pytest.raises(QueryError, match=quoted):
                table.run(wrong)


def test_into_outfile_is_refused(empty: Path, run: Run) -> None:
    told = one_line(run("sql", "SELECT 1 INTO OUTFILE 'q.csv'"))
    assert "INTO OUTFILE" in told
    assert "-o FILE" in told
    assert not (empty / "q.csv").exists()
    kept = run("sql", "SELECT 'INTO OUTFILE' AS a -- INTO OUTFILE 'q.csv'", "--format", "csv")
    assert kept.stdout == '"a"\n"INTO OUTFILE"\n'


def test_parameters(empty: Path, run: Run) -> None:
    write_pictures(empty / "p", 1, seed=8)
    picture = next((empty / "p").glob("*.jpg"))
    numbers = np.random.default_rng(1).standard_normal((1, 7)).astype("f4")
    np.save(empty / "v.npy", numbers)
    given = {
        "file": "@v.npy",
        "list": "[1, 2.5, -3]",
        "picture": f"image:{picture}",
        "words": "text:a red, 'heart'",
        "plain": "tab\tand = and \\n and 'quote'",
    }
    arrays = ", ".join(f"{{{n}:Array(Float32)}} AS {n}" for n in given if n != "plain")
    params = [word for n, value in given.items() for word in ("--param", f"{n}={value}")]
    told = run(
        "sql", f"SELECT {arrays}, {{plain:String}} AS p", *params, "--model", "tiny", "--json"
    )
    assert told.returncode == 0, told.stderr
    (row,) = json.loads(told.stdout)
    encoder = load_encoder("tiny")
    np.testing.assert_array_equal(np.array(row["file"], "f4"), numbers[0])
    assert row["list"] == [1, 2.5, -3]
    expected = encoder.encode_image([open_picture(picture)])[0]
    np.testing.assert_allclose(row["picture"], expected, atol=1e-4)
    np.testing.assert_allclose(row["words"], encoder.encode_text(["a red, 'heart'"])[0], atol=1e-6)
    assert row["p"] == given["plain"]


def test_settings_last_from_one_statement_to_the_next(empty: Path, run: Run) -> None:
    told = run("sql", "SET param_target = [1, 2]; SELECT {target:Array(Float32)} AS t", "--json")
    assert json.loads(told.stdout) == [{"t": [1.0, 2.0]}]
    distance = "SELECT 1 AS n ORDER BY L2Distance([1.0, 2.0], {target:Array(Float32)})"
    told = run("sql", f"SET param_target = [1, 2]; {distance}", "--json")
    assert json.loads(told.stdout) == [{"n": 1}]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["SELECT 1", "-f", "s.sql"], "give one of them"),
        (["-f", "none.sql"], "none.sql: No such file"),
        (["-f", "latin.sql"], "latin.sql: not UTF-8 text"),
        (["/* nothing */"], "no statement"),
        ([], "no statement"),
        (["SELECT 1; SELECT nope"], "statement 2: .*nope"),
        (["SELECT 1; SELECT 2", "-o", "x.csv"], "not of 2"),
        (["SET max_threads = 1", "-o", "x.csv"], "x.csv: a file .* not of 0"),
        (["SELECT 1 FORMAT CSV", "-o", "x.json"], "FORMAT CSV, .* says json"),
        (["SELECT throwIf(1)", "-o", "x.txt"], "x.txt: choose a --format"),
        (["SELECT {a:Int8}"], "a"),
        (["SELECT 1", "--param", "nonsense"], "--param nonsense: give NAME=VALUE"),
        (["SELECT 1", "--param", "1a=2"], "give NAME=VALUE"),
        (["SELECT 1", "--param", "a=1", "--param", "a=2"], "--param a is given twice"),
        (["SELECT 1", "--param", "a=@none.npy"], "--param a: none.npy: no such file"),
        (["SELECT 1", "--param", "a=@latin.sql"], "latin.sql: not a readable .npy"),
        (["SELECT 1", "--param", "a=@two.npy"], r"two.npy: shape \(2, 3\)"),
        (["SELECT 1", "--model", "tiny", "--param", "a=image:none.jpg"], "none.jpg: no such file"),
        (["SELECT 1", "--model", "huge", "--param", "a=text:cat"], "'huge' is unknown"),
        (["SELECT encode_text('a')", "--model", "huge"], "'huge' is unknown"),
    ],
)
def test_mistakes_are_one_line(empty: Path, run: Run, arguments: list[str], said: str) -> None:
    (empty / "latin.sql").write_bytes("SELECT 'é'".encode("latin-1"))
    np.save(empty / "two.npy", np.zeros((2, 3)))
    result = run("sql", *arguments)
    assert result.returncode == 2
    assert re.search(said, result.stderr.splitlines()[-1]), result.stderr


def test_the_timing_line_says_what_was_read(empty: Path) -> None:
    with Table(empty / "laion.chdb") as table:
        table.sql("CREATE TABLE t (id UInt64, s String) ENGINE = MergeTree ORDER BY id")
        table.sql("INSERT INTO t SELECT number, 'abc' FROM numbers(50000)")
        answer = table.run("SELECT sum(id) AS s FROM t", metered=True)
    assert answer.reading is not None
    assert answer.reading.rows == 50_000
    assert answer.reading.bytes == pytest.approx(50_000 * 8, rel=0.01)
    line = timing_line(Answer(answer.rows, b"", 0.5, Reading(50_000, 400_000)))
    assert line.startswith("1 row in set. Elapsed: 0.500 sec. Processed 50.00 thousand rows, ")
    assert line.endswith("400.00 KB (100.00 thousand rows/s., 800.00 KB/s.)")


def test_no_rows_are_no_success_of_a_command(empty: Path) -> None:
    with Table(empty / "laion.chdb") as table:
        assert timing_line(table.run("SELECT 1 WHERE 0")).startswith("0 rows in set. Elapsed: ")
        assert timing_line(table.run("SET max_threads = 1")).startswith("Ok. Elapsed: ")


def test_an_answer_holds_nothing_of_a_statement_that_failed(empty: Path) -> None:
    with Table(empty / "laion.chdb") as table:
        table.sql("CREATE TABLE x (id Int64, c String) ENGINE = MergeTree ORDER BY id")
        text = "if(number < 900000, '5', 'a')"
        table.sql(f"INSERT INTO x SELECT number, {text} FROM numbers(1000000)")
        failing = "SELECT toInt32(c) AS v FROM x ORDER BY id SETTINGS max_threads = 1"
        for statement in (failing, f"{failing} FORMAT CSV"):
            for _ in range(2):
                with pytest.raises(QueryError, match="Cannot parse string 'a'"):
                    table.run(statement)
                assert table.sql("SELECT 7 AS v").to_pylist() == [{"v": 7}]
                with pytest.raises(QueryError, match="Cannot parse string 'a'"):
                    table.run(statement)
                assert table.run("SELECT 7 FORMAT CSV").written == b"7\n"


def test_a_retired_index_names_its_replacement(empty: Path, run: Run) -> None:
    run("sql", "CREATE TABLE t (id Int64, v Array(Float32)) ENGINE = MergeTree ORDER BY id")
    told = one_line(run("sql", "ALTER TABLE t ADD INDEX i v TYPE annoy('cosineDistance', 100)"))
    replaced = told.partition("512): ")[2]
    assert replaced == (
        "ALTER TABLE t ADD INDEX i v TYPE vector_similarity('hnsw', 'cosineDistance', 512)"
    )
    assert run("sql", replaced).returncode == 0
    made = one_line(
        run(
            "sql",
            "CREATE TABLE o (id Int64, v Array(Float32), w Array(Float32), "
            "INDEX i v TYPE annoy(), INDEX j w TYPE annoy()) ENGINE = MergeTree ORDER BY id",
        )
    )
    assert made.count("TYPE vector_similarity('hnsw', 'L2Distance', 512)") == 2
    assert run("sql", made.partition("512): ")[2]).returncode == 0


def test_the_prompt(empty: Path) -> None:
    """In a terminal: statements of several lines, a mistake that ends nothing, and the history."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*python(), "-m", "cliphouse", "sql"],
        cwd=empty,
        env=os.environ | {"TERM": "xterm", "XDG_STATE_HOME": str(empty / "state")},
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(theirs)
    typed = "SELECT 40\r+ 2 AS answer;\rSELECT bad;\r\rSELECT 'a;'\r|| 'b' AS word;\rexit\r"
    os.write(ours, typed.encode())
    said, told = process.communicate(timeout=60)
    os.close(ours)
    assert process.returncode == 0, told
    assert re.search(r"answer\s+42", said)
    assert re.search(r"word\s+a;b", said)
    assert "1 row in set. Elapsed: " in told
    assert "bad" in told
    kept = (empty / "state" / "cliphouse" / "sql_history").read_text()
    assert "+SELECT bad;" in kept


def test_which_formats_are_alike() -> None:
    """Those of the engine, by what files of them hold."""
    for name, forms in (
        ("CSV", "csv"),
        ("CSVWithNames", "csv"),
        ("json", "json"),
        ("JSONEachRow", "json jsonl"),
        ("JSONLines", "json jsonl"),
        ("JSONCompact", "json"),
        ("Parquet", "parquet"),
        ("Vertical", "vertical"),
        ("PrettyCompact", "table"),
        ("TSV", ""),
    ):
        assert [form.value for form in Format if is_format(name, form)] == sorted(
            forms.split(), key=[form.value for form in Format].index
        ), name
    assert asked_format(None, False, Path("a.ndjson")) is Format.JSONL
    assert asked_format(Format.CSV, False, Path("a.json")) is Format.CSV
    assert asked_format(None, True, None) is Format.JSON
    assert asked_format(None, False, Path("a.tsv")) is None


def test_a_folder_that_cannot_be_written_is_said_before_the_statement_runs(
    empty: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: Path(path) != empty)  # root may write
    (empty / "link.csv").symlink_to("/dev/stdout")
    (empty / "other").mkdir()
    with pytest.raises(QueryError, match=r"x.csv: the folder .* cannot be written to"):
        check_output(empty / "x.csv")
    check_output(empty / "other" / "x.csv")
    check_output(empty / "link.csv")
    check_output(Path("/dev/stdout"))


def test_a_csv_cell_holds_an_array(empty: Path, run: Run) -> None:
    told = run("sql", "SELECT [1, 2] AS v, 'a,b' AS s", "--format", "csv")
    assert list(csv.DictReader(io.StringIO(told.stdout))) == [{"v": "[1, 2]", "s": "a,b"}]
