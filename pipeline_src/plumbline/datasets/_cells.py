"""Exact draws from a density on a unit cube of few dimensions, by rejection from a histogram above it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np

CHUNK = 2**17
"""Number of points at which the density is evaluated together."""
FLOOR = 0.02
"""Height of the histogram where the density looks like zero, as a fraction of its mean height."""


@dataclass(frozen=True)
class Histogram:
    """A function that is constant in each of equal cells of the unit cube, above a density.

    Attributes:
        heights: the function in each cell, in C order.
        sides: number of cells along each of the d axes.
    """

    heights: np.ndarray
    sides: tuple[int, ...]

    @classmethod
    def above(
        cls, density: Callable[[np.ndarray], np.ndarray], sides: tuple[int, ...], *, margin: float
    ) -> Histogram:
        """The histogram whose heights are `margin` times the largest value at 2^d places of each cell.

        Args:
            density: the density up to a factor (M,) at points (M, d).
            sides: number of cells along each axis.
            margin: a factor above one, for the density between these places.
        """
        cells = np.indices(sides).reshape(len(sides), -1).T
        largest = np.zeros(len(cells))
        for place in product((0.1, 0.9), repeat=len(sides)):
            values = in_chunks(density, (cells + np.array(place)) / sides)
            largest = np.maximum(largest, values)
        return cls(margin * largest + FLOOR * largest.mean(), sides)

    def propose(self, uniform: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Points (M, d) with the histogram as their density, and its height at each (M,).

        Args:
            uniform: uniform random numbers (M, 1 + d).
        """
        cumulative = self.heights.cumsum()
        cell = np.searchsorted(cumulative, uniform[:, 0] * cumulative[-1]).clip(max=len(self.heights) - 1)
        corner = np.stack(np.unravel_index(cell, self.sides), axis=1)
        return (corner + uniform[:, 1:]) / self.sides, self.heights[cell]


def in_chunks(function: Callable[[np.ndarray], np.ndarray], points: np.ndarray) -> np.ndarray:
    """The values (M,) of a function at points (M, d)."""
    parts = np.array_split(points, max(1, -(-len(points) // CHUNK)))
    return np.concatenate([function(part) for part in parts])
