"""What a database's engine can do, and which settings this user may change."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cliphouse.errors import TableError

WIDTH = "hnsw_candidate_list_size_for_search"
LIMIT = "max_limit_for_vector_search_queries"
RESCORING = "vector_search_with_rescoring"
MULTIPLIER = "vector_search_index_fetch_multiplier"
STRATEGY = "vector_search_filter_strategy"
USE_INDEX = "query_plan_try_use_vector_search"
USE_CODES = "vector_search_use_quantized_codes"
IGNORE_INDEXES = "ignore_data_skipping_indices"
READ_ROWS = "merge_tree_min_rows_for_concurrent_read"
READ_BYTES = "merge_tree_min_bytes_for_concurrent_read"
BLOCK_BYTES = "preferred_block_size_bytes"
MAKE_CODES = "enable_quantized_codec"
SKIP_SHARDS = "skip_unavailable_shards"
GLOBAL_IN = "prefer_global_in_and_join"
LOCAL_FIRST, BALANCING = "prefer_localhost_replica", "load_balancing"
HEDGED = "use_hedged_requests"
DEDUPLICATE, DEDUPLICATE_SELECT = "deduplicate_insert", "deduplicate_insert_select"
VALID_JSON = "output_format_json_validate_utf8"
# A merge that builds an index takes minutes; before 25.1 engines cannot switch that off.
_NO_BUILD_ON_MERGE = "materialize_skip_indexes_on_merge"
_OF_ONE_SERVER = (
    *(WIDTH, LIMIT, RESCORING, MULTIPLIER, STRATEGY, USE_INDEX),
    *(USE_CODES, IGNORE_INDEXES, MAKE_CODES, VALID_JSON, READ_ROWS, READ_BYTES),
    BLOCK_BYTES,
)
_OF_CLUSTERS = (SKIP_SHARDS, GLOBAL_IN, LOCAL_FIRST, BALANCING, HEDGED)
_SETTINGS = (*_OF_ONE_SERVER, *_OF_CLUSTERS, DEDUPLICATE, DEDUPLICATE_SELECT)
_READ = """
SELECT
    version() AS version,
    (SELECT count() FROM system.data_type_families WHERE name = 'BFloat16') AS bfloat16,
    (SELECT groupArray((name, value, toString(readonly), ifNull(min, ''), ifNull(max, '')))
        FROM system.settings WHERE has({names:Array(String)}, name)) AS settings,
    (SELECT count() FROM system.merge_tree_settings WHERE name = {merge:String}) AS merge
"""
# The first version in which vector_similarity is no longer experimental.
_INDEX_SINCE = (25, 8)
_TEXT_INDEX_SINCE = (26, 2)  # as _INDEX_SINCE, of the index of words


@dataclass(frozen=True)
class Setting:
    """A setting of this user: its value, whether the user may change it, and its limits."""

    value: str
    is_free: bool = True
    least: float = -math.inf
    most: float = math.inf


@dataclass(frozen=True)
class Features:
    """The engine's version, its features, and its settings for searches and exports.

    ``settings`` is None if every setting may have any value.
    """

    version: str = ""
    has_bfloat16: bool = True
    has_index: bool = True
    has_codes: bool = True
    can_leave_merges_alone: bool = True
    has_text_index: bool = True
    settings: Mapping[str, Setting] | None = field(default=None, compare=False)

    def may_set(self, name: str, value: Any) -> bool:
        """Whether a statement may set ``name`` to ``value``: the engine has the setting, and this
        user may change it."""
        if self.settings is None:
            return True
        known = self.settings.get(name)
        if known is None or not known.is_free:
            return False
        return not isinstance(value, int | float) or known.least <= value <= known.most

    def value(self, name: str) -> str | None:
        """The value of a setting that no statement changes; None if it is not known."""
        known = (self.settings or {}).get(name)
        return known.value if known else None

    @property
    def fixed_width(self) -> int | None:
        """The width of every search with an index if this user may not set it; otherwise None."""
        if self.may_set(WIDTH, None):
            return None
        return int(self.value(WIDTH) or 0)

    @property
    def lacking(self) -> list[str]:
        """The features that the engine lacks, in words."""
        lacks = []
        if not self.has_index:
            lacks.append("the index vector_similarity (25.8 and later)")
        if not self.has_codes:
            lacks.append("quantized codes (26.7 and later)")
        if not self.has_bfloat16:
            lacks.append("the type BFloat16 (24.12 and later)")
        return lacks

    @property
    def forbidden(self) -> list[str]:
        """The settings for searches and exports that this user may not change."""
        settings = self.settings or {}
        return sorted(n for n in _OF_ONE_SERVER if n in settings and not settings[n].is_free)

    def require(self, shown: str, precision: str = "", codes: str = "none") -> None:
        """Raises TableError if the engine cannot keep a table of this kind."""
        if not self.can_leave_merges_alone:
            raise TableError(
                f"{shown} is ClickHouse {self.version}, and cliphouse makes tables only in 25.1 or "
                "later; existing tables can be searched"
            )
        if precision == "bfloat16" and not self.has_bfloat16:
            raise TableError(
                f"{shown} is ClickHouse {self.version}, which has no type BFloat16 (24.12 and "
                "later have it); load with --precision float32"
            )
        if codes != "none" and not self.has_codes:
            raise TableError(
                f"{shown} is ClickHouse {self.version}, which has no quantized codes (26.7 and "
                "later have them, as an experiment); load without --codes"
            )

    def require_index(self, shown: str) -> None:
        """Raises TableError if the engine has no vector index."""
        if not self.has_index:
            raise TableError(
                f"{shown} is ClickHouse {self.version}, which has no index for vectors (25.8 and "
                "later have vector_similarity); without an index, searches are exact"
            )


EVERYTHING = Features()


def read_features(query: Callable[[str, dict[str, Any]], Sequence[Mapping[str, Any]]]) -> Features:
    """Read the engine's features with one statement; ``query`` runs it with its parameters."""
    parameters = {"names": list(_SETTINGS), "merge": _NO_BUILD_ON_MERGE}
    (found,) = query(_READ, parameters)
    rows = [list(row.values()) if isinstance(row, dict) else list(row) for row in found["settings"]]
    settings = {
        name: Setting(value, readonly == "0", _bound(least, -math.inf), _bound(most, math.inf))
        for name, value, readonly, least, most in rows
    }
    return Features(
        version=found["version"],
        has_bfloat16=bool(found["bfloat16"]),
        has_index=WIDTH in settings and _numbers(found["version"]) >= _INDEX_SINCE,
        has_codes=USE_CODES in settings,
        can_leave_merges_alone=bool(found["merge"]),
        has_text_index=_numbers(found["version"]) >= _TEXT_INDEX_SINCE,
        settings=settings,
    )


def _bound(text: str, otherwise: float) -> float:
    try:
        return float(text)
    except ValueError:
        return otherwise


def _numbers(version: str) -> tuple[int, ...]:
    """The first two numbers of a version."""
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])
