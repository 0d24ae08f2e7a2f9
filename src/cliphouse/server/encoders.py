"""The encoder of each table, loaded before the first question comes."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from PIL import Image

from cliphouse.errors import ModelError
from cliphouse.models import Encoder, load_encoder
from cliphouse.table import Table

Kind = Literal["words", "pictures"]
_TRIALS: Mapping[Kind, Callable[[Encoder], object]] = {
    "words": lambda encoder: encoder.encode_text(["warm"]),
    "pictures": lambda encoder: encoder.encode_image([Image.new("RGB", (64, 64))]),
}


# ONNX Runtime's threads wait for one another by spinning. With all cores to themselves they take
# them from the engine that searches beside them: a search by words then cost a third more
# processor time with the tiny model, and two thirds more with ViT-B/32 (measured on two cores).
_THREADS = max(1, (os.cpu_count() or 1) // 2)


@dataclass(frozen=True)
class _Warm:
    """An encoder, and what each half of it has against encoding, if anything."""

    encoder: Encoder
    problems: Mapping[Kind, str]


class Encoders:
    """The encoders of a service; tables of one model share theirs. A half of a model that is not on
    this machine leaves the other in use. ``model_dir`` is where a model's files lie offline."""

    def __init__(self, model_dir: str | None = None) -> None:
        self._model_dir = model_dir
        self._by_model: dict[str, _Warm] = {}
        self._by_table: dict[str, _Warm | str] = {}

    def warm(self, table: Table) -> None:
        """Load the encoder of ``table``."""
        try:
            name = table.encoder.name
        except ModelError as error:
            self._by_table[table.name] = str(error)
            return
        if name not in self._by_model:
            encoder = load_encoder(name, self._model_dir, _THREADS)
            tried = {kind: _problem(encoder, trial) for kind, trial in _TRIALS.items()}
            problems = {kind: told for kind, told in tried.items() if told is not None}
            self._by_model[name] = _Warm(encoder, problems)
        self._by_table[table.name] = self._by_model[name]

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
