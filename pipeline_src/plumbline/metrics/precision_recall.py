r"""Precision and recall of manifolds (Kynkaanniemi et al., NeurIPS 2019).

A set's manifold is the union of balls around its points that reach their k-th neighbour in the set. Precision
is the share of samples on the manifold of the test split (quality); recall is the share of the test split on
the manifold of the samples. Coverage (Naeem et al., ICML 2020) is the share of the test split whose own ball holds a
sample, which an outlier among the samples cannot inflate. High precision with low recall is collapse.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from plumbline.metrics import EvaluationContext, PairwiseSpec, scalar
from plumbline.spec import key

if TYPE_CHECKING:
    import xarray as xr

    from plumbline.metrics._pairs import Pairs


class PrecisionRecallSpec(PairwiseSpec):
    """Precision, recall and coverage by nearest neighbours, of standardised samples and test split."""

    kind: Literal["precision_recall"] = "precision_recall"
    neighbours: int = key(ge=1, default=5)
    """k, the neighbour that a ball reaches."""

    def evaluate(self, samples: xr.Dataset, dataset: xr.Dataset, by: EvaluationContext) -> xr.Dataset:
        import xarray as xr

        told = self.numbers(self.pairs(samples, dataset, by))
        return xr.Dataset({name: scalar(value, name, "higher") for name, value in told.items()})

    def numbers(self, pairs: Pairs) -> dict[str, float]:
        of_test, of_drawn = (_radii(within, self.neighbours) for within in (pairs.reference, pairs.drawn))
        return {
            "precision": float((pairs.between <= of_test).any(1).mean()),
            "coverage": float((pairs.between.min(0) <= of_test).mean()),
            "recall": float((of_drawn >= pairs.between.T).any(1).mean()),
        }


def fraction_on_manifold(points: np.ndarray, manifold: np.ndarray, neighbours: int) -> float:
    """The share of points (n, d) that lie in a ball around a point of the other set (m, d)."""
    from scipy.spatial.distance import cdist

    return float((cdist(points, manifold) <= _radii(cdist(manifold, manifold), neighbours)).any(1).mean())


def _radii(within: np.ndarray, neighbours: int) -> np.ndarray:
    """The distance of each point to its k-th neighbour in the set, from all distances in it."""
    k = min(neighbours, len(within) - 1)
    return np.partition(within, k, axis=1)[:, k]
