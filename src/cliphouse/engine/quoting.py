"""Names, texts and settings as SQL text, for statements that take no parameters in their place."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from cliphouse.errors import QueryError


def identifier(name: str) -> str:
    """Quote ``name`` for SQL. Raises QueryError if it is not a plain table or column name."""
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,127}", name):
        raise QueryError(f"{name!r} is not a table name; use letters, digits and _ only")
    return f"`{name}`"


def backquote(name: str) -> str:
    """Quote any name for SQL: a user's own databases and columns may have any characters."""
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


def quote(text: str) -> str:
    """A SQL string literal of ``text``."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def settings_list(settings: Mapping[str, Any]) -> str:
    """The list of ``settings`` that follows the word SETTINGS in a statement."""
    return ", ".join(f"{name} = {value!r}" for name, value in settings.items())
