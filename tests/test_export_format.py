"""An export format is one file and its line in the registry: the rest finds it there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cliphouse.cli import main
from cliphouse.cli.formats import Format, choose_format
from cliphouse.errors import QueryError, TableError
from cliphouse.export import FORMATS, ExportFormat
from cliphouse.export.rows import ChosenRows
from cliphouse.shards.whole_file import whole_file
from conftest import OpenTable
from shard_files import make_shard


class UrlList(ExportFormat):
    """A toy: one URL a line."""

    name = "urls"
    help = "one URL a line"
    output = "file"
    needs = ("url",)

    def write(self, rows: ChosenRows, output: Path) -> list[Path]:
        with whole_file(output) as stream:
            for batch in rows.batches(["url"]):
                stream.write("".join(f"{url}\n" for url in batch["url"].to_pylist()).encode())
                rows.advance(batch.num_rows)
        return [output]


def run_with_the_toy(*arguments: str) -> str:
    """What cliphouse prints if the toy is registered."""
    command = [sys.executable, __file__, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    return done.stdout


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FORMATS, UrlList.name, UrlList())


@pytest.mark.usefixtures("toy")
def test_the_exporter_writes_a_new_format(tmp_path: Path, open_table: OpenTable) -> None:
    made = make_shard(tmp_path / "s", rows=7)
    table = open_table()
    table.ingest(tmp_path / "s")
    report = table.export(tmp_path / "urls.txt", "urls")
    assert (report.files, report.rows) == ((tmp_path / "urls.txt",), 7)
    assert (tmp_path / "urls.txt").read_text().splitlines() == made.metadata["url"]


@pytest.mark.usefixtures("toy")
def test_a_format_names_the_column_it_lacks(tmp_path: Path, open_table: OpenTable) -> None:
    make_shard(tmp_path / "s", rows=2)
    table = open_table()
    table.ingest(tmp_path / "s")
    table.sql("CREATE TABLE bare ORDER BY id AS SELECT id, image_embedding FROM laion")
    table.close()
    bare = open_table(table="bare")
    with pytest.raises(TableError, match="bare has no url, which the format urls needs"):
        bare.export(tmp_path / "urls.txt", "urls")
    assert not any(tmp_path.glob("urls.txt*"))


def test_the_command_line_offers_a_new_format(tmp_path: Path, open_table: OpenTable) -> None:
    shown = " ".join(run_with_the_toy("export", "--help").replace("│", " ").split())
    assert "urls: one URL a line." in shown
    assert "img2dataset|urls" in shown
    made = make_shard(tmp_path / "s", rows=7)
    table = open_table()
    table.ingest(tmp_path / "s")
    table.close()
    database = table.address.shown
    path = tmp_path / "urls.txt"
    said = run_with_the_toy("export", str(path), "--format", "urls", "--db", database)
    assert said == f"7 rows into {path}\n"
    assert path.read_text().splitlines() == made.metadata["url"]


@pytest.mark.parametrize(
    ("output", "chosen", "format"),
    [
        ("r.json", None, Format.JSON),
        ("r.JSONL", None, Format.JSONL),
        ("r.ndjson", None, Format.JSONL),
        ("r.csv", None, Format.CSV),
        ("a.b/r.parquet", None, Format.PARQUET),
        ("r.csv", Format.JSON, Format.JSON),
        ("r.txt", None, Format.TABLE),
        ("csv", None, Format.TABLE),
        (None, None, Format.TABLE),
    ],
)
def test_a_file_s_ending_names_the_format(
    output: str | None, chosen: Format | None, format: Format
) -> None:
    assert choose_format(chosen, False, None if output is None else Path(output)) is format


def test_an_unknown_format_is_named_with_those_there_are(
    tmp_path: Path, open_table: OpenTable
) -> None:
    make_shard(tmp_path / "s", rows=2)
    table = open_table()
    table.ingest(tmp_path / "s")
    offered = "it must be one of csv, shards, parquet, jsonl, img2dataset$"
    with pytest.raises(QueryError, match=f"format 'xls': {offered}"):
        table.export(tmp_path / "out.xls", "xls")


if __name__ == "__main__":
    FORMATS[UrlList.name] = UrlList()
    main()
