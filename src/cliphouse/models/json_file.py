"""A JSON file of a model: its values by key, and errors that name the file and the key."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cliphouse.errors import ModelError


@dataclass(frozen=True)
class JsonFile:
    """What a JSON file says. ``within`` is the key of the part that ``values`` are, with a dot.

    Every method that needs a key raises ModelError if the file does not have it, or has a value of
    another kind: what a file does not say is not guessed.
    """

    path: Path
    values: Mapping[str, Any] = field(default_factory=dict)
    within: str = ""

    @classmethod
    def read(cls, path: Path) -> JsonFile:
        """Read a file. Raises ModelError if it is missing or not a JSON object."""
        try:
            values = json.loads(path.read_text("utf-8"))
        except OSError as error:
            raise ModelError(f"{path}: cannot be read: {error.strerror}") from error
        except ValueError as error:
            raise ModelError(f"{path}: not JSON: {error}") from error
        if not isinstance(values, dict):
            raise ModelError(f"{path}: not a JSON object")
        return cls(path, values)

    @classmethod
    def read_if_there(cls, path: Path) -> JsonFile:
        """Read a file, which may be missing: then it says nothing."""
        return cls.read(path) if path.exists() else cls(path)

    def has(self, key: str) -> bool:
        """Whether the file says something other than null for ``key``."""
        return self.values.get(key) is not None

    def part(self, key: str) -> JsonFile:
        """The object of ``key``; an empty one if the file has none."""
        value = self.values.get(key)
        if value is not None and not isinstance(value, dict):
            raise self.wrong(key, "is not an object")
        return JsonFile(self.path, value or {}, f"{self.within}{key}.")

    def text(self, key: str) -> str:
        """The text of ``key``."""
        value = self._needed(key)
        if not isinstance(value, str):
            raise self.wrong(key, "is not a text")
        return value

    def count(self, key: str) -> int:
        """The whole number above 0 of ``key``."""
        value = self._needed(key)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise self.wrong(key, "is not a whole number above 0")
        return value

    def flag(self, key: str, default: bool | None = None) -> bool:
        """The yes or no of ``key``; ``default`` if the file has none and a default is given."""
        if default is not None and not self.has(key):
            return default
        value = self._needed(key)
        if not isinstance(value, bool):
            raise self.wrong(key, "is neither true nor false")
        return value

    def three(self, key: str) -> tuple[float, float, float]:
        """The three numbers of ``key``, one for each colour."""
        value = self._needed(key)
        numbers = value if isinstance(value, list) else ()
        if len(numbers) != 3 or not all(isinstance(n, int | float) for n in numbers):
            raise self.wrong(key, "is not a list of three numbers")
        return float(numbers[0]), float(numbers[1]), float(numbers[2])

    def wrong(self, key: str, problem: str) -> ModelError:
        """The error for a key whose value cannot be used."""
        shown = json.dumps(self.values.get(key))
        return ModelError(f"{self.path}: {self.within}{key} {problem}: {shown[:80]}")

    def _needed(self, key: str) -> Any:
        if not self.has(key):
            raise ModelError(f"{self.path}: has no {self.within}{key}")
        return self.values[key]
