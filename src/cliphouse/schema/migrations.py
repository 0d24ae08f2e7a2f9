"""Versions of what is kept with a table, and the migration from each version to the next.

Two records are kept, each as JSON in a table's comment: the table's description (TableInfo) in its
own comment, and the ledger's version in that of the ledger. What cliphouse 0.1 wrote bears no
version and is version 1. To change what a record holds, raise its version and add a migration.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cliphouse._version import __version__
from cliphouse.errors import TableError

Record = dict[str, Any]
Migration = Callable[[Record], Record]
_VERSION_KEY = "version"


@dataclass(frozen=True)
class RecordKind:
    """A kind of record: the JSON key that it is kept under, what an error calls it, and the version
    that this release writes. ``migrations[n]`` turns a record of version n into one of version
    n + 1; a version that adds nothing to the record needs none."""

    key: str
    title: str
    version: int
    migrations: Mapping[int, Migration] = field(default_factory=dict)

    def version_of(self, comment: str, table: str) -> int | None:
        """The version of the record in the comment of ``table``; None if the comment has no such
        record. Raises TableError if this release does not know the version."""
        record = self._parse(comment)
        return None if record is None else self._known_version(record, table)

    def read(self, comment: str, table: str) -> Record | None:
        """The record in the comment of ``table``, as of this release's version; None if the comment
        has no such record. Raises TableError if this release does not know the version."""
        record = self._parse(comment)
        if record is None:
            return None
        for version in range(self._known_version(record, table), self.version):
            if version in self.migrations:
                record = self.migrations[version](record)
        record.pop(_VERSION_KEY, None)
        return record

    def write(self, record: Record) -> str:
        """A comment that holds ``record`` with this release's version."""
        content = {self.key: {_VERSION_KEY: self.version, **record}}
        return json.dumps(content, separators=(",", ":"))

    def _parse(self, comment: str) -> Record | None:
        try:
            content = json.loads(comment)
        except (ValueError, RecursionError):
            return None
        record = content.get(self.key) if isinstance(content, dict) else None
        return record if isinstance(record, dict) else None

    def _known_version(self, record: Record, table: str) -> int:
        version = record.get(_VERSION_KEY, 1)
        if type(version) is not int or not 1 <= version <= self.version:
            raise TableError(
                f"the {self.title} {table} has version {version}, and cliphouse {__version__} "
                f"knows no later version than {self.version}; upgrade cliphouse: "
                "pip install --upgrade cliphouse"
            )
        return version


def _fill_in_defaults(record: Record) -> Record:
    """1 -> 2: fields that the first tables did not have."""
    return {"codes": "none", "measured": []} | record


def _without_roots(record: Record) -> Record:
    """2 -> 3: roots. Urls of earlier tables are whole, so these have none."""
    return {"roots": []} | record


DESCRIPTION = RecordKind(
    "cliphouse", "description of table", 3, {1: _fill_in_defaults, 2: _without_roots}
)
# Version 2 has the columns generation and attempt, which Ledger.make adds, and a record at all.
LEDGER_RECORD = RecordKind("cliphouse_ledger", "ledger", 2)
