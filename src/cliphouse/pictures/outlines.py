"""The outlines of the shapes that the package draws."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def _arc(start: float, stop: float, radius: float = 1.0, x: float = 0.0) -> NDArray[np.float64]:
    angles = np.linspace(np.radians(start), np.radians(stop), 40)
    return np.stack([x + radius * np.cos(angles), radius * np.sin(angles)], axis=1)


def _outlines() -> dict[str, NDArray[np.float64]]:
    """The shapes as polygons: float64 of shape (points, 2), y downwards, radius about 1."""
    t = np.linspace(0, 2 * np.pi, 60)
    heart_y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    spikes = np.arange(10) * np.pi / 5 - np.pi / 2
    lengths = np.where(np.arange(10) % 2 == 0, 1.0, 0.42)
    # The inner arc of the crescent meets the outer one at its tips (60 and 300 degrees).
    inner = float(np.hypot(0.08, np.sin(np.pi / 3)))
    tip = float(np.degrees(np.arctan2(np.sin(np.pi / 3), 0.08)))
    arm, turn = np.array([[-0.3, -0.3], [-0.3, -1], [0.3, -1]]), np.array([[0, 1], [-1, 0]])
    arrow = [-1, 0.1, 0.1, 1, 0.1, 0.1, -1], [-0.2, -0.2, -0.65, 0, 0.65, 0.2, 0.2]
    return {
        "circle": 0.9 * _arc(0, 360),
        "square": 0.7 * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]),
        "triangle": np.array([[0, -1], [0.87, 0.5], [-0.87, 0.5]]),
        "star": np.stack([lengths * np.cos(spikes), lengths * np.sin(spikes)], axis=1),
        "heart": np.stack([16 * np.sin(t) ** 3, -heart_y - 2.5], axis=1) / 17.5,
        "cross": 0.95 * np.concatenate([arm, arm @ turn, -arm, -arm @ turn]),
        "ring": 0.95 * _arc(0, 360),
        "crescent": np.concatenate([_arc(60, 300), _arc(360 - tip, tip, inner, 0.42)]),
        "diamond": np.array([[0, -1], [0.6, 0], [0, 1], [-0.6, 0]]),
        "arrow": np.stack(arrow, axis=1),
    }


OUTLINES = _outlines()
HOLES = {"ring": 0.55 * _arc(0, 360)}
SHAPES: tuple[str, ...] = tuple(OUTLINES)
