"""Distances between all pairs of samples and test samples.

They serve several metrics, also with some of the samples left out. Metrics pass through them in blocks of
rows. The distances of few samples are computed once and kept; those of many are computed again in each pass,
so that memory does not grow with the square of their number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

KEPT = 4000
"""Largest number of samples whose distances are kept: three matrices of 128 MB."""
BLOCK = 2**22
"""Number of distances in a block of many samples."""
BINS = 4096
"""Number of intervals in which a pass counts distances to find their median."""


class Distances:
    """Euclidean distances from n points (rows) to m points (columns).

    Args:
        rows: the points (n, d).
        columns: the points (m, d).
        kept: the distances (n, m), if they are known.
    """

    def __init__(self, rows: np.ndarray, columns: np.ndarray, kept: np.ndarray | None = None) -> None:
        self.rows, self.columns, self.kept = rows, columns, kept
        if kept is None and max(len(rows), len(columns)) <= KEPT:
            self.kept = _distances(rows, columns)

    def blocks(self) -> Iterator[tuple[int, np.ndarray]]:
        """Yields blocks of rows (rows, m), each with the index of its first row."""
        if self.kept is not None:
            yield 0, self.kept
            return
        size = max(1, BLOCK // max(1, len(self.columns)))
        for first in range(0, len(self.rows), size):
            yield first, _distances(self.rows[first : first + size], self.columns)

    def without(self, rows: np.ndarray, columns: np.ndarray) -> Distances:
        """The distances without these rows and columns."""
        own, theirs = (
            np.setdiff1d(np.arange(len(points)), out)
            for points, out in ((self.rows, rows), (self.columns, columns))
        )
        kept = None if self.kept is None else self.kept[np.ix_(own, theirs)]
        return Distances(self.rows[own], self.columns[theirs], kept)

    def nearest(self, k: int) -> np.ndarray:
        """The k-th smallest distance of each row (n,), from k = 0."""
        # A view would keep its block in memory.
        return np.concatenate([np.partition(block, k, axis=1)[:, k].copy() for _, block in self.blocks()])

    def mean(self, function: Callable[[np.ndarray], np.ndarray]) -> float:
        """The mean of a function of the distances."""
        if self.kept is not None:
            return float(function(self.kept).mean())
        total = sum(float(function(block).sum()) for _, block in self.blocks())
        return total / (len(self.rows) * len(self.columns))

    def median_apart(self) -> float:
        """The median distance of two different points, where rows and columns are the same points."""
        if self.kept is not None:
            return float(np.median(self.kept[np.triu_indices(len(self.kept), 1)]))
        count = len(self.rows) * (len(self.rows) - 1) // 2
        low, high = (self._ranked(rank) for rank in ((count - 1) // 2, count // 2))
        return (low + high) / 2

    def _above_diagonal(self) -> Iterator[np.ndarray]:
        for first, block in self.blocks():
            places = np.arange(block.shape[1]) > (first + np.arange(len(block)))[:, None]
            yield block[places]

    def _ranked(self, rank: int) -> float:
        """The value of this rank, from 0, among the distances above the diagonal.

        Each pass counts the distances in intervals and continues within the one that contains the rank, until
        its distances fill no more than a block.
        """
        ends = [(block.min(), block.max()) for block in self._above_diagonal() if block.size]
        low, high = min(a for a, _ in ends), max(b for _, b in ends)
        while low < high:
            edges = np.linspace(low, high, BINS + 1)
            counts = np.zeros(BINS, np.int64)
            for block in self._above_diagonal():
                counts += np.histogram(block, edges)[0]
            upto = np.cumsum(counts)
            chosen = int(np.searchsorted(upto, rank, side="right"))
            rank -= int(upto[chosen - 1]) if chosen else 0
            low, high = float(edges[chosen]), float(edges[chosen + 1])
            last = chosen == BINS - 1  # the last interval contains its upper end, the others do not
            if counts[chosen] <= BLOCK:
                inside = [
                    b[(b >= low) & ((b <= high) if last else (b < high))] for b in self._above_diagonal()
                ]
                return float(np.partition(np.concatenate(inside), rank)[rank])
            if not last:
                high = float(np.nextafter(high, low))
        return low


@dataclass(frozen=True)
class Pairs:
    """Euclidean distances within n samples, within n test samples, and between the two sets.

    Attributes:
        drawn: distances between samples (n, n).
        reference: distances between test samples (n, n).
        between: distances from samples (rows) to test samples (columns), (n, n).
    """

    drawn: Distances
    reference: Distances
    between: Distances

    @classmethod
    def of(cls, drawn: np.ndarray, reference: np.ndarray) -> Pairs:
        """The distances of samples (n, d) and test samples (n, d)."""
        return cls(Distances(drawn, drawn), Distances(reference, reference), Distances(drawn, reference))

    def without(self, places: np.ndarray) -> Pairs:
        """The distances without the samples and test samples at these indices."""
        return Pairs(*(each.without(places, places) for each in (self.drawn, self.reference, self.between)))


def _distances(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    from scipy.spatial.distance import cdist

    distances: np.ndarray = cdist(rows, columns)
    return distances
