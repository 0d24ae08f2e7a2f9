"""A file appears whole or not at all, and what is no file is not made one."""

from __future__ import annotations

import os
import stat
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cliphouse.cli.formats import write_bytes
from cliphouse.engine.address import parse_address
from cliphouse.engine.backup import restore
from cliphouse.errors import QueryError, TableError
from cliphouse.shards.whole_file import whole_file
from cliphouse.table import Table
from conftest import OpenTable
from shard_files import make_shard


@pytest.fixture
def table(tmp_path: Path, open_table: OpenTable) -> Table:
    make_shard(tmp_path / "s")
    opened = open_table()
    opened.ingest(tmp_path / "s")
    return opened


def test_a_pipe_is_written_to_and_stays_one(tmp_path: Path, table: Table) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor(1) as pool:
        read = pool.submit(pipe.read_bytes)
        write_bytes(b"12", pipe)
        assert read.result(30) == b"12"
        read = pool.submit(pipe.read_bytes)
        assert table.export(pipe, "jsonl").rows == 20
        assert read.result(30).count(b"\n") == 20
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    target, link = tmp_path / "there" / "file", tmp_path / "link"
    link.symlink_to(target)
    for data in (b"first", b"second"):
        with whole_file(link) as stream:
            stream.write(data)
            assert not target.exists() or target.read_bytes() == b"first"
        assert link.is_symlink()
        assert target.read_bytes() == data
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "link", "there"]


def test_a_folder_is_no_file(tmp_path: Path, table: Table) -> None:
    for name in ("", "s"):
        with pytest.raises(QueryError, match="is a folder; give the name of a file"):
            table.export(Path(name) if not name else tmp_path / name, "jsonl")


def test_what_is_no_backup_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.zip"
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("../evil.txt", "x")
    with pytest.raises(TableError, match=r"other\.zip: not a backup"):
        restore(other, parse_address(str(tmp_path / "new.chdb")))
    with pytest.raises(TableError, match=r"other\.zip: a file; an embedded database is a folder"):
        restore(other, parse_address(str(other)))
    assert [path.name for path in tmp_path.iterdir()] == ["other.zip"]


def test_a_comment_that_does_not_end_is_refused(table: Table) -> None:
    for statement in ("/* a", "SELECT 1 /* a", "SELECT '/*', 1 /* */ /*"):
        with pytest.raises(QueryError, match="a comment does not end"):
            table.sql(statement)
    assert table.sql("SELECT '/*' AS v /* ' */").to_pylist() == [{"v": "/*"}]
