"""The encoder of each table, loaded before the first question comes."""

from __future__ import annotations

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


@dataclass(frozen=True)
class _Warm:
    """An encoder, and what each half of it has against encoding, if anything."""

    encoder: Encoder
    problems: Mapping[Kind, str]


class Encoders:
    """The encoders of a service; tables of one model share theirs. A half of a model that is not on
    this machine leaves the other in use."""

    def __init__(self) -> None:
        self._by_model: dict[str, _Warm] = {}
        self._by_table: dict[str, _Warm | str] = {}

    def warm(self, table: Table) -> None:
        """Load the encoder of ``table``."""
        try:
            encoder = table.encoder
        except ModelError as error:
            self._by_table[table.name] = str(error)
            return
        if encoder.name not in self._by_model:
            tried = {kind: _problem(encoder, trial) for kind, trial in _TRIALS.items()}
            problems = {kind: told for kind, told in tried.items() if told is not None}
            self._by_model[encoder.name] = _Warm(encoder, problems)
        self._by_table[table.name] = self._by_model[encoder.name]

    def problems(self) -> list[str]:
        """A line for each table and kind of query that there is no encoder for."""
        return [
            f"table {table}: no search by {kind}: {told}"
            for table in self._by_table
            for kind in _TRIALS
            if (told := self._against(table, kind)) is not None
        ]

    def get(self, table: str, kind: Kind) -> Encoder:
        """Raises ModelError where there is none for this kind of query."""
        told = self._against(table, kind)
        warm = self._by_table[table]
        if told is not None or isinstance(warm, str):
            raise ModelError(f"table {table} cannot be searched by {kind}: {told}")
        return warm.encoder

    def _against(self, table: str, kind: Kind) -> str | None:
        warm = self._by_table[table]
        return warm if isinstance(warm, str) else warm.problems.get(kind)


def _problem(encoder: Encoder, trial: Callable[[Encoder], object]) -> str | None:
    try:
        trial(encoder)
    except ModelError as error:
        return str(error)
    return None
