"""Conditions that users type, in search and in export: what they may be, and what errors say."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import cliphouse
from cliphouse import QueryError, Table
from cliphouse.engine.refusal import read_refusal
from cliphouse.engine.statements import find_name, find_unbalanced
from cliphouse.errors import CliphouseError
from cliphouse.search.condition import ConditionError, every, typed_condition
from conftest import Run
from shard_files import make_shard
from thorough import examples

# Each with the position at which it is wrong (None: no single place), and what is told.
MISTAKES: list[tuple[str, int | None, str]] = [
    ("captoin = 'x'", 1, r"no column captoin; did you mean caption\?"),
    ("nsfw = 'UNLIKELY'", 1, r"no column nsfw; did you mean NSFW\?"),
    ("laion.widht > 3", 1, r"no column widht; did you mean width\?"),
    ("caption = 'widht' AND widht > 3", 23, r"no column widht; did you mean width\?"),
    ('caption = "cat"', 11, "no column cat; text is written in single quotes: 'cat'"),
    ("NSFW = unlikely", 8, "no column unlikely, only caption, height, id,"),
    ("lenght(caption) > 3", 1, r"no function lenght; did you mean length\?"),
    ("id >= 0) OR (1", 8, "this bracket has no counterpart"),
    ("id IN (1, 2", 7, "this bracket has no counterpart"),
    ("caption = 'x", 11, "this quote has no counterpart"),
    ("‘(’ = '' ) OR (1 = ‘)’", 10, "this bracket has no counterpart"),
    ("id = 1 /* one", 8, "this comment does not end"),
    ("similarity > > 3", 14, "this is not SQL"),
    ("'é' = caption AN 1", 15, "this is not SQL"),
    ("similarity > 0.3\n  ORDER BY id", 20, "this is not SQL"),
    ("similarity =! 3", 13, "Exclamation mark can only occur in"),
    ("id = 1; DROP TABLE laion", 7, "this is not SQL"),
    ("similarity > 0.3 AND", None, "something is missing after 'similarity > 0.3 AND'$"),
    ("caption = 3", None, "no supertype for types String, UInt8"),
    ("width > 'abc'", None, "Cannot convert string 'abc' to type Int32$"),
    ("caption", None, "it is of type String, and so neither"),
    ("similarity >= 0,3", None, r"it is of type Tuple\(UInt8, UInt8\), and so neither"),
    ("caption LIKE 3", None, "Illegal type UInt8 of argument of function like$"),
    ("length(caption, 3) = 1", None, "passed 2, should be 1$"),
    ("toInt32(caption) = 1", None, "Cannot parse string"),
    ("sum(width) > 3", None, r"Aggregate function sum\(width\) is found in"),
    ("match(caption, '[')", None, "cannot compile re2"),
    ("# nothing", None, "the condition is empty: there is only a comment$"),
    ("throwIf(id >= 0)", None, "'throwIf' function is non-zero$"),
    ("id IN (SELECT id FROM nope)", 23, "there is no table nope$"),
    ("id IN (SELECT id FROM laoin.x)", 23, "there is no database laoin$"),
    ("id = (SELECT id FROM laion)", None, "Scalar subquery returned more than one row"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("condition")
    for number in (0, 1):
        make_shard(folder / "s", number, rows=30)
    with Table(folder / "db") as table:
        table.ingest(folder / "s")
        table.index()
    return folder


@pytest.fixture
def table(folder: Path) -> Iterator[Table]:
    with Table(folder / "db") as opened:
        yield opened


def told_by(action: Iterator[object] | object) -> str:
    with pytest.raises(ConditionError) as caught:
        action()  # type: ignore[operator]
    assert isinstance(caught.value, QueryError)
    return str(caught.value)


@pytest.mark.parametrize(("where", "position", "told"), MISTAKES)
def test_mistakes_are_told_in_the_words_of_who_made_them(
    table: Table, tmp_path: Path, where: str, position: int | None, told: str
) -> None:
    found = [
        told_by(lambda: table.search("id:3", where=where)),
        told_by(lambda: table.search("id:3", where=where, mode="hnsw")),
        told_by(lambda: table.search("id:3", where=where, dedup=0.9, metric="l2")),
        *(
            told_by(lambda f=f: table.export(tmp_path / f, f, where=where))  # type: ignore[misc]
            for f in ("csv", "jsonl", "parquet", "shards")
        ),
    ]
    assert not list(tmp_path.iterdir())
    for line in found:
        assert re.search(told, line), line
        assert re.match("where: ", line)
        assert "\n" not in line
        assert not re.search("SELECT id, |ORDER BY query_distance|LIMIT|_embedding,.*base64", line)
        if position is None:
            assert "position" not in line
        else:
            excerpt = " ".join(where[position - 1 :][:30].split())
            assert line.startswith(f"where: position {position}, at {excerpt!r}: ")


def test_the_command_line_names_its_option(folder: Path, tmp_path: Path, run: Run) -> None:
    db = ("--db", folder / "db")
    told = "cliphouse: --where: position 8, at ') OR (1': this bracket has no counterpart\n"
    for command in (
        ("search", "id:3", "--where", "id >= 0) OR (1"),
        ("export", "out", "--format", "csv", "--where", "id >= 0) OR (1"),
        ("export", "out", "--format", "csv", "--search", "id:3", "--where", "id >= 0) OR (1"),
    ):
        result = run(*command, *db)
        assert (result.returncode, result.stdout, result.stderr) == (2, "", told)
    result = run("search", "id:3", "--where", "nope", *db)
    assert result.stderr.startswith("cliphouse: --where: position 1, at 'nope': the table has no")
    assert not list(tmp_path.iterdir())


def test_the_score_is_a_search_s(table: Table, tmp_path: Path) -> None:
    told = told_by(lambda: table.search("id:3", where="scroe > 0.3"))
    assert told.endswith("the table has no column scroe; did you mean score?")
    told = told_by(lambda: table.export(tmp_path / "x.jsonl", "jsonl", where="score > 0.3"))
    assert told == "where: position 1, at 'score > 0.3': only a search knows a score"


def test_conditions_that_hold(table: Table, tmp_path: Path) -> None:
    for where, rows in (
        ("caption LIKE '%) OR (1%' OR id = 3", 1),
        ("id < 5 -- ) the first", 5),
        ("id IN (1, 2, 3 /* ) */) OR (id = 7)", 4),
        ("  ", 60),
        ("", 60),
        ("id = 1 OR id = 4294967296", 2),
    ):
        assert len(table.search("id:3", k=100, where=where)) == rows
        report = table.export(tmp_path / "out.jsonl", "jsonl", where=where)
        assert report.rows == rows


_PIECES = [
    *("(", ")", "[", "]", "{", "}", "'", "''", '"', "`", "‘", "’", "“", "”", "\\", "\\'"),
    *("--", "\n", "/*", "*/", "# ", "$$", "$a$", "a$$", "$", ";", ",", "1", "0", "id", " ", " OR "),
    *(" AND ", " = ", "1)", "(1", "é", "x"),
]


@settings(
    max_examples=examples(40, 300),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(st.sampled_from(_PIECES), max_size=14).map("".join))
@example("1) OR (1")
@example("‘(’ = '' ) OR (1 = ‘)’")
@example("1 AS a$$) OR (1 AS b$$")
@example("1 /* ) */) OR (1 /* ( */")
@example("1 -- \n) OR (1")
@example("1 # \n) OR (1")
@example("1 = '\\') OR (1 = '")
@example('"id\\") OR (1 = "')
def test_no_condition_leaves_its_brackets(table: Table, text: str) -> None:
    """The engine is the judge: what is accepted selects nothing behind a condition that no row
    meets, or is no SQL."""
    try:
        condition = typed_condition(text, ["id"])
    except ConditionError:
        return
    if condition is None:
        return
    try:
        found = table.sql(f"SELECT count() AS rows FROM laion WHERE 0 AND {condition.sql}")
    except CliphouseError:
        return
    assert found.to_pylist() == [{"rows": 0}]


def test_what_has_no_counterpart() -> None:
    for text, index in {
        "(a)": None,
        "f([1, 2], {x:Int8})": None,
        "'it''s (' || \"a)\"": None,
        "$x$ ) $$ $x$": None,
        "(a]": 2,
        "a)": 1,
        "((a)": 0,
        "“a": 0,
        "a$$)$$": 3,
    }.items():
        assert find_unbalanced(text) == index, text


def test_names_are_found_outside_of_strings() -> None:
    assert find_name("'width' = x AND width > 1", "width") == 16
    assert find_name("widths > 1 OR my.width = 2 OR `width` = 1", "width") == 30
    assert find_name("'width'", "width") is None


@pytest.mark.parametrize(
    ("message", "name"),
    [
        (
            "Unknown expression identifier `captoin` in scope SELECT id FROM laion WHERE captoin. "
            "Maybe you meant: ['caption']. (UNKNOWN_IDENTIFIER)",
            "captoin",
        ),
        (
            "Missing columns: 'captoin' while processing query: 'SELECT id FROM laion WHERE "
            "captoin', required columns: 'id' 'captoin'. (UNKNOWN_IDENTIFIER)",
            "captoin",
        ),
        ("Unknown function lenght. Maybe you meant: ['length']. (UNKNOWN_FUNCTION)", "lenght"),
    ],
)
def test_older_engines_are_understood_too(message: str, name: str) -> None:
    unknown = read_refusal(message).unknown
    assert unknown is not None
    assert unknown.name == name


def test_conditions_are_joined(table: Table) -> None:
    assert every(None, None) is None
    both = every(typed_condition("id > 1 OR 1", ["id"]), cliphouse.Filter(min_width=3).condition())
    assert both is not None
    assert both.sql == "(id > 1 OR 1\n) AND width >= {filter_min_width:Int64}"
    assert both.parameters == {"filter_min_width": 3}
