"""Distances between all pairs of samples and test samples.

They are computed once and serve several metrics, also with some of the samples left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Pairs:
    """Euclidean distances within n samples, within n test samples, and between the two sets.

    Attributes:
        drawn: distances between samples (n, n).
        reference: distances between test samples (n, n).
        between: distances from samples (rows) to test samples (columns), (n, n).
    """

    drawn: np.ndarray
    reference: np.ndarray
    between: np.ndarray

    @classmethod
    def of(cls, drawn: np.ndarray, reference: np.ndarray) -> Pairs:
        """The distances of samples (n, d) and test samples (n, d)."""
        from scipy.spatial.distance import cdist

        return cls(cdist(drawn, drawn), cdist(reference, reference), cdist(drawn, reference))

    def without(self, places: np.ndarray) -> Pairs:
        """The distances without the samples and test samples at these indices."""
        kept = np.setdiff1d(np.arange(len(self.drawn)), places)
        both = np.ix_(kept, kept)
        return Pairs(self.drawn[both], self.reference[both], self.between[both])
