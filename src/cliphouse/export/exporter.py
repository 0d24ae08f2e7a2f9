"""Writes a table, or part of it, to files in a format of cliphouse.export."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cliphouse.errors import EngineError, TableError
from cliphouse.export import ExportFormat, check_output, format_of
from cliphouse.export.rows import BATCH_ROWS, ChosenRows
from cliphouse.schema.handle import TableHandle
from cliphouse.search.condition import Condition, every, typed_condition
from cliphouse.shards.one_writer import one_writer
from cliphouse.vocabulary import Progress


@dataclass(frozen=True)
class ExportReport:
    """The files that were written, and their rows."""

    files: tuple[Path, ...]
    rows: int


class Exporter:
    """Writes rows of a table in id order: all of them, those that meet ``where`` (SQL), or those
    with the given ``ids``.

    Memory is bounded by a batch of ``batch_rows`` rows, and files appear whole or not at all.
    """

    def __init__(
        self,
        table: TableHandle,
        where: str | None = None,
        ids: Sequence[int] | None = None,
        progress: Progress | None = None,
        batch_rows: int = BATCH_ROWS,
    ) -> None:
        self._table = table
        chosen = every(typed_condition(where, list(table.columns)), _of_ids(ids))
        self._condition = chosen or Condition("1")
        self._progress = progress
        self._batch_rows = batch_rows

    def write(self, chosen: str, output: Path) -> ExportReport:
        """Write to ``output``, a folder or a file as the format named ``chosen`` says.

        Raises QueryError if there is no such format, or a folder where its file should be or the
        other way round, TableError if no row is chosen or the table lacks a column that the format
        needs, ConditionError if the engine does not take ``where``, and UserError if another export
        writes to ``output``.
        """
        form = format_of(chosen)
        check_output(form, output)
        rows = ChosenRows(self._table, self._condition, self._progress, self._batch_rows)
        if not rows.total:
            raise TableError(f"table {self._table.name}: no rows to export")
        self._check_columns(form)
        with one_writer(output, "export", is_file=form.output == "file"):
            files = tuple(form.write(rows, output))
        if rows.done != rows.total:
            raise EngineError(
                f"table {self._table.name}: {rows.done:,} rows written, but {rows.total:,} were "
                "counted before: the table has changed meanwhile; export it again"
            )
        return ExportReport(files, rows.total)

    def _check_columns(self, form: ExportFormat) -> None:
        if lacking := set(form.needs) - set(self._table.columns):
            raise TableError(
                f"table {self._table.name} has no {min(lacking)}, which the format {form.name} "
                "needs"
            )


def _of_ids(ids: Sequence[int] | None) -> Condition | None:
    if ids is None:
        return None
    return Condition("id IN {ids:Array(Int64)}", {"ids": [int(row_id) for row_id in ids]})
