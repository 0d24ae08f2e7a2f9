"""An older server: what it does not know yet is hidden from the engine, or refused as it would."""

from __future__ import annotations

import re
from dataclasses import dataclass


class RefusalError(Exception):
    """An error as a server words it."""


@dataclass(frozen=True)
class Pretence:
    """A server of ``version`` that lacks these settings, data types, index types and codecs."""

    version: str = ""
    settings: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    indexes: tuple[str, ...] = ()
    codecs: tuple[str, ...] = ()
    merge_settings: tuple[str, ...] = ()

    def apply(self, query: str, settings: dict[str, str]) -> str:
        """The statement for the engine behind. Raises RefusalError where the older server would."""
        for name in self.settings:
            if name in settings or re.search(rf"\b{name}\s*=", query):
                raise RefusalError(
                    f"Code: 115. DB::Exception: Unknown setting '{name}': (UNKNOWN_SETTING)"
                )
        for name in self.types:
            if re.search(rf"\b{name}\b(?!')", query):
                what = f"Unknown data type family: {name}"
                raise RefusalError(f"Code: 50. DB::Exception: {what}. (UNKNOWN_TYPE)")
        for name in self.indexes:
            if re.search(rf"TYPE\s+{name}\b", query):
                raise RefusalError(
                    f"Code: 80. DB::Exception: Unknown Index type '{name}'. (INCORRECT_QUERY)"
                )
        for name in self.codecs:
            if re.search(rf"\b{name}\(", query):
                raise RefusalError(
                    f"Code: 432. DB::Exception: Unknown codec family code: {name}. (UNKNOWN_CODEC)"
                )
        if self.version:
            query = query.replace("version()", f"'{self.version}'")
        query = _without(query, "system.settings", self.settings)
        query = _without(query, "system.merge_tree_settings", self.merge_settings)
        return _without(query, "system.data_type_families", self.types)


def _without(query: str, table: str, names: tuple[str, ...]) -> str:
    if not names:
        return query
    listed = ", ".join(f"'{name}'" for name in names)
    return query.replace(table, f"(SELECT * FROM {table} WHERE name NOT IN ({listed}))")
