"""The roots of a table in SQL: counting their rows, and turning urls into paths."""

from __future__ import annotations

from cliphouse.engine.arrays import plain_value
from cliphouse.engine.quoting import quote
from cliphouse.schema.handle import TableHandle
from cliphouse.shards.roots import SCHEME


def rows_by_root(table: TableHandle) -> dict[str, int]:
    """The number of rows of each root that the table knows, by its name."""
    if not table.info.roots:
        return {}
    start = len(SCHEME) + 1
    found = table.connection.rows(
        f"SELECT substring(url, {start}, position(url, '/') - {start}) AS root, count() AS rows "
        f"FROM {table.sql} WHERE startsWith(url, {quote(SCHEME)}) GROUP BY root"
    )
    rows = {plain_value(row["root"]): int(row["rows"]) for row in found}
    return {root.name: rows.get(root.name, 0) for root in table.info.roots}


def local_url_sql(table: TableHandle) -> str:
    """The SQL of a row's url, or of the path of its file if it is in a root."""
    cases = [
        f"startsWith(url, {quote(root.prefix)}), concat({quote(root.inside)}, "
        f"substring(url, {len(root.prefix.encode()) + 1}))"
        for root in table.info.roots
    ]
    return f"multiIf({', '.join(cases)}, url)" if cases else "url"
