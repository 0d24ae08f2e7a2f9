"""Which columns of a table have no value in any row."""

from __future__ import annotations

from collections.abc import Iterator

from cliphouse.engine.quoting import backquote
from cliphouse.inspection.facets import EMBEDDING
from cliphouse.schema.handle import TableHandle
from cliphouse.search.column_filter import ValueType

SITES = "sites of url"


def empty_columns(table: TableHandle) -> frozenset[str]:
    """The names of the columns whose values are all null, empty texts or empty lists, and SITES if
    no url names a host; of none if the table has no rows. Embeddings and numbers that cannot be
    null have values."""
    asked = dict(_conditions(table))
    if not asked:
        return frozenset()
    found = table.connection.query(
        f"SELECT count() > 0, {', '.join(f'max({sql})' for sql in asked.values())} FROM {table.sql}"
    )
    has_rows, *have_values = (column[0].as_py() for column in found.columns)
    if not has_rows:
        return frozenset()
    return frozenset(name for name, has in zip(asked, have_values, strict=True) if not has)


def _conditions(table: TableHandle) -> Iterator[tuple[str, str]]:
    """Each column that may be empty, with what a row with a value meets."""
    for name, sql_type in table.columns.items():
        kind, column = ValueType.of(sql_type), backquote(name)
        if EMBEDDING.fullmatch(sql_type):
            continue
        if kind.is_list:
            yield name, f"notEmpty({column})"
        elif kind.is_text:
            yield name, f"ifNull({column}, '') != ''"
        elif "Nullable(" in sql_type:
            yield name, f"isNotNull({column})"
    if "url" in table.columns:
        yield SITES, "domain(url) != ''"
