"""Parts of tables whose files are damaged: found by their checksums, or met while they are read."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cliphouse.engine.quoting import backquote, quote

if TYPE_CHECKING:
    from cliphouse.engine.connection import Connection

# How the engine names the part that it was reading, and the file, if it got as far as that.
_PART = re.compile(
    r"while reading from part .*?/(?P<part>[^/\s]+)/ in table (?P<table>.+?) \([0-9a-f-]{36}\)"
)
_FILE = re.compile(r"While reading or decompressing .*?/(?P<file>[^/\s]+) \(")
# Codes of errors that bytes other than those that were written cause, or their lack.
_CODES = re.compile(
    r"\((?:CHECKSUM_DOESNT_MATCH|CORRUPTED_DATA|CANNOT_DECOMPRESS|UNKNOWN_CODEC"
    r"|TOO_LARGE_SIZE_COMPRESSED|BAD_SIZE_OF_FILE_IN_DATA_PART|CANNOT_READ_ALL_DATA"
    r"|ATTEMPT_TO_READ_AFTER_EOF|UNEXPECTED_END_OF_FILE|FILE_DOESNT_EXIST)\)"
)
_CODE = re.compile(r"^(?:Code: \d+\.\s*|DB::\w*Exception:\s*)+")
_SENTENCE_END = re.compile(r"[.:](?=\s)|\.$|\s\(")
_PLAIN = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_DEFAULT = "default"
_SET_ASIDE = "the engine could not open it and has set it aside"


@dataclass(frozen=True)
class DamagedPart:
    """A part of a table, and what is wrong with it. ``table`` is the table's name in SQL."""

    table: str
    part: str
    reason: str

    def __str__(self) -> str:
        return f"part {self.part} of table {self.table} is damaged ({self.reason})"

    @property
    def advice(self) -> str:
        """What to do about it."""
        drop = f"DROP PART {quote(self.part)}"
        if self.reason == _SET_ASIDE:
            drop = "DROP DETACHED PARTITION ALL SETTINGS allow_drop_detached = 1"
        return (
            f"restore an earlier backup, or remove the part (ALTER TABLE {self.table} {drop}) and "
            "load its rows again with ingest --replace"
        )


def find_damage(connection: Connection, table: str, database: str = _DEFAULT) -> list[DamagedPart]:
    """Have the engine compare all files of a table with their checksums. Parts whose rows are in no
    other one since the engine could not open them are damaged, too. What has no parts, such as a
    view, has no damage."""
    has_parts = connection.command(
        "SELECT count() FROM system.tables WHERE database = {database:String} "
        "AND name = {table:String} AND engine LIKE '%MergeTree'",
        {"database": database, "table": table},
    )
    if not has_parts:
        return []
    found = connection.query(
        f"CHECK TABLE {backquote(database)}.{backquote(table)} "
        "SETTINGS check_query_single_value_result = 0"
    )
    names = [database, table] if database != _DEFAULT else [table]
    in_sql = ".".join(name if _PLAIN.fullmatch(name) else backquote(name) for name in names)
    return [
        DamagedPart(in_sql, row["part_path"], _reason(row["message"]))
        for row in found.to_pylist()
        if not row["is_passed"]
    ] + [DamagedPart(in_sql, part, _SET_ASIDE) for part in _set_aside(connection, table, database)]


def _set_aside(connection: Connection, table: str, database: str) -> list[str]:
    """One name of each range of blocks that the engine could not open and that no part has."""
    found = connection.query(
        "SELECT min(name) AS name FROM system.detached_parts "
        "WHERE database = {database:String} AND table = {table:String} "
        "AND startsWith(reason, 'broken') AND NOT arrayExists(range -> range.1 = partition_id "
        "AND range.2 <= min_block_number AND max_block_number <= range.3, "
        "(SELECT groupArray((partition_id, min_block_number, max_block_number)) FROM system.parts "
        "WHERE database = {database:String} AND table = {table:String} AND active)) "
        "GROUP BY partition_id, min_block_number, max_block_number ORDER BY name",
        {"database": database, "table": table},
    )
    return [str(name) for name in found.column("name").to_pylist()]


def met_damage(message: str) -> DamagedPart | None:
    """The damaged part that an error of the engine is about; None if it is another error."""
    part = _PART.search(message)
    if part is None or not _CODES.search(message):
        return None
    file = _FILE.search(message)
    reason = f"{file['file']}: {_reason(message)}" if file else _reason(message)
    return DamagedPart(part["table"].removeprefix(f"{_DEFAULT}."), part["part"], reason)


def _reason(message: str) -> str:
    """The first sentence of an engine's message, without its code."""
    return _SENTENCE_END.split(" ".join(_CODE.sub("", message).split()), maxsplit=1)[0]
