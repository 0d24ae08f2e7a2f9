"""What became of a dataset's inputs, and how far a run has come."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cliphouse.vocabulary import Progress

Outcome = Literal["embedded", "there", "busy", "failed"]


@dataclass(frozen=True)
class SkippedMember:
    """A picture of an input that was left out, and the reason."""

    key: str
    reason: str


@dataclass(frozen=True)
class InputReport:
    """What became of an input: it is embedded now, was there before, is another process's, or
    cannot be read.

    ``rows`` pictures are in its shard, ``skipped`` are left out, and ``absent`` are those that
    img2dataset had not got. ``named`` are the skipped pictures of this run. ``reason`` says why it
    ended too early or cannot be read, or who has it.
    """

    name: str
    outcome: Outcome
    rows: int = 0
    skipped: int = 0
    absent: int = 0
    reason: str = ""
    named: tuple[SkippedMember, ...] = ()

    @property
    def is_cut_off(self) -> bool:
        return bool(self.reason) and self.outcome in ("embedded", "there")


@dataclass(frozen=True)
class DatasetReport:
    """What became of all inputs, by number."""

    inputs: list[InputReport]

    @property
    def is_complete(self) -> bool:
        """Whether no input was cut off or unreadable."""
        return not any(one.is_cut_off or one.outcome == "failed" for one in self.inputs)

    def of(self, outcome: Outcome) -> list[InputReport]:
        return [one for one in self.inputs if one.outcome == outcome]


class Pace:
    """Tells the progress. How many pictures there will be is estimated by the inputs' bytes."""

    def __init__(self, progress: Progress | None, size: int) -> None:
        """``size`` is that of all inputs, in bytes."""
        self._progress = progress
        self._size = size
        self._behind = 0
        self._pictures = 0

    def leave_out(self, size: int) -> None:
        """An input of ``size`` bytes needs no work in this run."""
        self._size -= size

    def advance(self, pictures: int, read: int) -> None:
        """``pictures`` more are embedded, and ``read`` bytes of the current input are read."""
        self._pictures += pictures
        self._tell(self._behind + read)

    def end(self, size: int) -> None:
        """An input of ``size`` bytes is embedded."""
        self._behind += size
        self._tell(self._behind)

    def _tell(self, behind: int) -> None:
        if self._progress and self._pictures:
            share = min(max(behind / max(self._size, 1), 1e-9), 1.0)
            self._progress(self._pictures, round(self._pictures / share))
