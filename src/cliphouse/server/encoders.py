"""The encoder of each table, loaded before the first request."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from PIL import Image

from cliphouse.errors import ModelError
from cliphouse.models import Encoder
from cliphouse.table import Table

Kind = Literal["words", "pictures"]
_TRIALS: Mapping[Kind, Callable[[Encoder], object]] = {
    "words": lambda encoder: encoder.encode_text(["warm"]),
    "pictures": lambda encoder: encoder.encode_image([Image.new("RGB", (64, 64))]),
}

# ONNX Runtime's threads wait by spinning. With one thread per core they slow down the engine, which
# searches at the same time. A search by words then took a third more processor time with the tiny
# model, and two thirds more with ViT-B/32 (measured on two cores).
THREADS = max(1, (os.cpu_count() or 1) // 2)


@dataclass(frozen=True)
class _LoadedEncoder:
    """An encoder, and for each kind of query that fails the reason."""

    encoder: Encoder
    problems: Mapping[Kind, str]


class Encoders:
    """Loads and keeps the encoders of a service. Tables with the same model share one encoder.

    If this machine lacks one half of a model, the other half still works.
    """

    def __init__(self) -> None:
        self._by_model: dict[str, _LoadedEncoder] = {}
        self._by_table: dict[str, _LoadedEncoder | str] = {}

    def load(self, table: Table) -> None:
        """Load the encoder of ``table`` and try both kinds of query."""
        try:
            encoder = table.encoder
        except ModelError as error:
            self._by_table[table.name] = str(error)
            return
        name = encoder.name
        if name not in self._by_model:
            tried = {kind: _try(encoder, trial) for kind, trial in _TRIALS.items()}
            problems = {kind: reason for kind, reason in tried.items() if reason is not None}
            self._by_model[name] = _LoadedEncoder(encoder, problems)
        self._by_table[table.name] = self._by_model[name]

    def problems(self) -> list[str]:
        """A line for each table and kind of query that cannot be encoded, with the reason."""
        return [
            f"table {table}: no search by {kind}: {reason}"
            for table in self._by_table
            for kind in _TRIALS
            if (reason := self._problem(table, kind)) is not None
        ]

    def get(self, table: str, kind: Kind) -> Encoder:
        """The encoder of ``table``. Raises ModelError if it cannot encode this kind of query."""
        reason = self._problem(table, kind)
        loaded = self._by_table[table]
        if reason is not None or isinstance(loaded, str):
            raise ModelError(f"table {table} cannot be searched by {kind}: {reason}")
        return loaded.encoder

    def _problem(self, table: str, kind: Kind) -> str | None:
        loaded = self._by_table[table]
        return loaded if isinstance(loaded, str) else loaded.problems.get(kind)


def _try(encoder: Encoder, trial: Callable[[Encoder], object]) -> str | None:
    try:
        trial(encoder)
    except ModelError as error:
        return str(error)
    return None
