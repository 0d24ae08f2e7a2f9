"""Completion at the prompt of cliphouse sql."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document

from cliphouse.cli.completion import Names, SqlCompleter
from cliphouse.table import Table
from forked import python
from terminal import Terminal


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Table]:
    with Table(tmp_path_factory.mktemp("names")) as opened:
        opened.sql("CREATE TABLE cats (id Int64, colour String, `my col` Int8) ENGINE = Memory")
        opened.sql("CREATE TABLE dogs (id Int64, breed String) ENGINE = Memory")
        yield opened


def complete(table: Table, text: str, behind: str = "", names: Names | None = None) -> list[str]:
    completer = SqlCompleter(names or Names(table.connection))
    document = Document(text + behind, len(text))
    return [one.text for one in completer.get_completions(document, CompleteEvent())]


def test_names_fit_their_place(table: Table) -> None:
    assert complete(table, "SELECT * FROM ")[:2] == ["cats", "dogs"]
    assert complete(table, "select * from DO") == ["dogs"]
    assert complete(table, "SELECT col", " FROM cats")[0] == "colour"
    assert "breed" not in complete(table, "SELECT b", " FROM cats")
    assert complete(table, "SELECT bree")[0] == "breed"
    assert complete(table, "SELECT cats.") == ["id", "colour", "`my col`"]
    both = " FROM cats AS c JOIN dogs d ON c.id = d.id"
    assert complete(table, "SELECT c.co", both) == ["colour"]
    assert complete(table, "SELECT d.", both) == ["id", "breed"]
    assert complete(table, "SELECT my", " FROM cats")[0] == "`my col`"
    assert complete(table, "SELECT * FROM system.fun") == ["system.functions"]
    assert "is_aggregate" in complete(table, "SELECT ", " FROM system.functions")
    assert complete(table, "SELECT 'a") == complete(table, "SELECT 1 -- a") == []
    assert complete(table, "SELECT encode_t") == ["encode_text("]
    assert "ORDER BY" in complete(table, "SELECT 1 or")


def test_functions_are_those_of_the_engine(table: Table) -> None:
    found = table.sql("SELECT name FROM system.functions WHERE startsWith(lower(name), 'cosine')")
    expected = {name + "(" for name in found.column("name").to_pylist()}
    assert {name for name in complete(table, "SELECT COSINE") if name.endswith("(")} == expected


def test_a_new_table_is_known(table: Table) -> None:
    names = Names(table.connection)
    assert complete(table, "SELECT * FROM bi", names=names) == []
    table.sql("CREATE TABLE birds (id Int64) ENGINE = Memory")
    names.forget()
    assert complete(table, "SELECT * FROM bi", names=names) == ["birds"]
    table.sql("DROP TABLE birds")


def test_tab_in_a_terminal(tmp_path: Path) -> None:
    (tmp_path / "laion.chdb").mkdir()
    terminal = Terminal(b"", columns=100)
    command = [*python(), "-m", "cliphouse", "sql"]
    where = {
        "TERM": "xterm",
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "PROMPT_TOOLKIT_NO_CPR": "1",
    }
    process = terminal.start(command, tmp_path, where)
    terminal.wait_for("sql>")
    terminal.type("SELECT bitHammingD\t")
    terminal.wait_for(r"istance\(")
    terminal.type("1, 2) AS apart\\G\r")
    terminal.wait_for(r"Row 1:[^A-Z]*apart: 2\r\n")
    terminal.type("exit\r")
    assert process.wait(60) == 0, terminal.text
    terminal.close()
