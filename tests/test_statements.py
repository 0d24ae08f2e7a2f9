"""Taking pasted SQL apart."""

from __future__ import annotations

import pytest

from cliphouse.engine.deprecated import with_current_function_names
from cliphouse.engine.statements import (
    ends_engine,
    is_finished,
    is_insert,
    is_set,
    names_format,
    names_in,
    only_reads,
    reads_local_file,
    returns_rows,
    sorts_by_distance,
    split_statements,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SELECT 1", ["SELECT 1"]),
        ("SELECT 1;;\n ; SELECT 2;", ["SELECT 1", "SELECT 2"]),
        (
            "SELECT ';' ; SELECT 'it''s;' ; SELECT '\\';'",
            ["SELECT ';'", "SELECT 'it''s;'", "SELECT '\\';'"],
        ),
        ('SELECT "a;b", `c;d`; SELECT 2', ['SELECT "a;b", `c;d`', "SELECT 2"]),
        ("-- a; b\nSELECT 1 /* ; */; # c;\n#!d;\n", ["-- a; b\nSELECT 1 /* ; */"]),
        ("SELECT $$a;b$$, $x$c;$$d$x$; SELECT 2", ["SELECT $$a;b$$, $x$c;$$d$x$", "SELECT 2"]),
        ("SELECT 'open; SELECT 2", ["SELECT 'open; SELECT 2"]),
        ("SELECT 1 /* open; SELECT 2", ["SELECT 1 /* open; SELECT 2"]),
        (" \n-- nothing\n;", []),
        ("\ufeffSELECT 1;\u200b\n\u2060SELECT 2\u200b;\ufeff", ["SELECT 1", "SELECT 2"]),
        ("\ufeff", []),
    ],
)
def test_statements_are_split(text: str, expected: list[str]) -> None:
    assert split_statements(text) == expected


def test_the_last_semicolon_ends_typing() -> None:
    assert is_finished("SELECT 1;  -- done")
    assert is_finished("SELECT 1; SELECT 2;")
    assert not is_finished("SELECT 1; SELECT 2")
    assert not is_finished("SELECT ';")
    assert not is_finished("")


def test_kinds_of_statements() -> None:
    assert returns_rows("/* a */ -- b\n (SELECT 1)")
    assert not returns_rows("INSERT INTO t SELECT 1")
    assert names_format("SELECT 1 FORMAT CSV")
    assert names_format("SELECT 1\nformat Vertical SETTINGS max_threads = 1 -- as it were")
    assert not names_format("SELECT 'FORMAT CSV'")
    assert not names_format("SELECT format FROM t")
    assert names_format("BACKUP TABLE t TO Null FORMAT TSV")
    assert not names_format("INSERT INTO t FROM INFILE 'x' FORMAT CSV")
    assert is_insert("/* a */ insert into t values (1)")
    assert is_insert("WITH x AS (SELECT 1) INSERT INTO t SELECT * FROM x")
    assert not is_insert("SELECT insert('a', 1, 1, 'b')")
    assert not is_insert("EXPLAIN INSERT INTO t SELECT 1")
    assert is_set("-- a\nset x = 1")
    assert not is_set("SELECT 'SET'")
    assert reads_local_file("-- the CSV\ninsert into laion from infile '/x/*.csv'")
    assert not reads_local_file("INSERT INTO t SELECT 'FROM INFILE'")


def test_what_ends_the_engine() -> None:
    for statement in ("SYSTEM SHUTDOWN", "/* now */ system\n kill", "\ufeffSYSTEM -- x\nSHUTDOWN"):
        assert ends_engine(statement)
    for statement in (
        "SELECT 'SYSTEM SHUTDOWN'",
        "SYSTEM FLUSH LOGS",
        "SYSTEM KILLED",
        "-- SYSTEM KILL",
    ):
        assert not ends_engine(statement)


def test_names_and_order() -> None:
    statement = "SELECT `a b`.x FROM db.\"t\" WHERE y = 'no' -- not\nORDER BY L2Distance(v, [1])"
    assert {"a b", "x", "db", "t", "y", "v"} <= names_in(statement)
    assert not {"no", "not"} & names_in(statement)
    assert sorts_by_distance(statement)
    assert sorts_by_distance("SELECT cosineDistance(v, w) AS d FROM t ORDER\nBY d")
    assert not sorts_by_distance("SELECT 'ORDER BY cosineDistance(' FROM t")
    assert not sorts_by_distance("SELECT cosineDistance(v, w) FROM t")


def test_an_old_spelling_is_changed_outside_of_strings() -> None:
    assert with_current_function_names("SELECT l2Distance(a, b) -- l2Distance(") == (
        "SELECT L2Distance(a, b) -- l2Distance("
    )
    kept = "SELECT 'l2Distance(', `l2Distance`, l2Distances(a), l2Distance FROM t"
    assert with_current_function_names(kept) == kept


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("SELECT 1", True),
        ("WITH 1 AS x SELECT x", True),
        ("WITH x AS (SELECT 1) INSERT INTO t SELECT * FROM x", False),
        ("SELECT 'INSERT' -- INSERT", True),
        ("INSERT INTO t SELECT 1", False),
        ("SET max_threads = 1", False),
    ],
)
def test_what_surely_changes_nothing(statement: str, expected: bool) -> None:
    assert only_reads(statement) == expected
