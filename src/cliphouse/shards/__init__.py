"""LAION and clip-retrieval shard files: finding, reading and writing them."""

from cliphouse.shards.files import (
    DataFile,
    Shard,
    find_shards,
    format_shard_numbers,
    parse_shard_numbers,
)
from cliphouse.shards.reader import ShardReader
from cliphouse.shards.writer import ShardWriter

__all__ = [
    "DataFile",
    "Shard",
    "ShardReader",
    "ShardWriter",
    "find_shards",
    "format_shard_numbers",
    "parse_shard_numbers",
]
