"""What a contender is: how it is built, opened and asked."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from search.place import Place

Vector: TypeAlias = NDArray[np.float32]  # of shape (512,), length 1
K = 10
# Build parameters and search widths of all HNSW graphs but the guide's.
HNSW_M = 32
HNSW_EF_CONSTRUCTION = 128
LADDER = (64, 128, 256, 512, 1024, 2048, 4096)


@dataclass(frozen=True)
class Condition:
    """A filter in SQL, and the share of rows it is meant to select."""

    name: str
    where: str
    share: float


@dataclass(frozen=True)
class Case:
    """One way of asking a contender. ``width`` is its ef, oversampling or number of probes, where
    it has one; those ``on_curve`` are measured at many sizes."""

    name: str
    width: int | None = None
    mode: str = ""
    condition: Condition | None = None
    on_curve: bool = False


@dataclass(frozen=True)
class Answer:
    """The ids found, nearest first, and what the contender says it did."""

    ids: list[int]
    said: str = ""


Ask: TypeAlias = Callable[[Vector, Case], Answer]


@dataclass(frozen=True)
class Step:
    """A part of preparing, done once, in a process of its own."""

    name: str
    build: Callable[[Place], None]


@dataclass(frozen=True)
class Contender:
    """``fetches`` is what a search returns within the measured time."""

    name: str
    label: str
    fetches: str
    steps: tuple[Step, ...]
    cases: tuple[Case, ...]
    open: Callable[[Place], AbstractContextManager[Ask]]

    def title(self, case: str) -> str:
        """The label, with the case of that name where it has several."""
        return f"{self.label}, {case}" if case else self.label

    def cases_at(self, curve_only: bool) -> tuple[Case, ...]:
        return tuple(case for case in self.cases if case.on_curve or not curve_only)


IDS, DETAILS = "ids", "ids, urls, captions"


def widths(
    values: tuple[int, ...], name: str, on_curve: int = 0, mode: str = ""
) -> tuple[Case, ...]:
    """A case for each width, called ``name`` and the width."""
    return tuple(
        Case(f"{name} {value}", value, mode, on_curve=value == on_curve) for value in values
    )
