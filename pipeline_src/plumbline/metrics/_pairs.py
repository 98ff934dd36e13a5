"""Distances between all pairs of samples and test samples: what metrics of sets need once, with any of them left out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Pairs:
    """Euclidean distances within n samples, within as many test samples, and between the two.

    Attributes:
        drawn: between samples (n, n).
        reference: between test samples (n, n).
        between: from samples to test samples (n, n).
    """

    drawn: np.ndarray
    reference: np.ndarray
    between: np.ndarray

    @classmethod
    def of(cls, drawn: np.ndarray, reference: np.ndarray) -> Pairs:
        """The distances of samples (n, d) and test samples (m, d)."""
        from scipy.spatial.distance import cdist

        return cls(cdist(drawn, drawn), cdist(reference, reference), cdist(drawn, reference))

    def without(self, places: np.ndarray) -> Pairs:
        """Those that are left without the samples, and the test samples, at these places."""
        kept = np.setdiff1d(np.arange(len(self.drawn)), places)
        both = np.ix_(kept, kept)
        return Pairs(self.drawn[both], self.reference[both], self.between[both])
