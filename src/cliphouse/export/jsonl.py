"""JSON lines: one object for each row."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from cliphouse.engine.features import VALID_JSON
from cliphouse.engine.quoting import backquote
from cliphouse.export.format import ExportFormat
from cliphouse.export.rows import ChosenRows
from cliphouse.search.column_filter import ValueType
from cliphouse.shards.whole_file import whole_file


class JsonLinesExport(ExportFormat):
    """One JSON object a line with every column; NaN is null, and bytes that are not UTF-8 are
    replaced."""

    name = "jsonl"
    help = "one JSON object per line"
    output = "file"

    def write(self, rows: ChosenRows, output: Path) -> list[Path]:
        may_set = rows.table.connection.features.may_set(VALID_JSON, 1)
        settings = f"SETTINGS {VALID_JSON} = 1" if may_set else ""
        value = rows.plain if may_set else partial(_valid, rows)
        chosen = [f"{value(name)} AS {backquote(name)}" for name in rows.columns]
        with whole_file(output) as stream:
            for part in rows.parts:
                rows.stream(stream, chosen, part, "JSONEachRow", settings)
                rows.advance(part.rows)
        return [output]


def _valid(rows: ChosenRows, name: str) -> str:
    """The SQL of a column as valid UTF-8, for a user who may not set VALID_JSON."""
    kind, column = rows.table.columns[name], rows.plain(name)
    if not ValueType.of(kind).is_text:
        return column
    valid = "toValidUTF8({})"
    for depth in range(kind.count("Array(")):
        valid = f"arrayMap(item_{depth} -> {valid.format(f'item_{depth}')}, {{}})"
    return valid.format(column)
