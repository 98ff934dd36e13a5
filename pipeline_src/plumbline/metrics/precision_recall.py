r"""Precision and recall by nearest neighbours.

The definitions are those of Kynkäänniemi et al. (NeurIPS 2019, https://arxiv.org/abs/1904.06991). The
manifold of a set is the union of balls around its points, each with the distance to the k-th nearest
neighbour in the set as its radius. Precision is the fraction of samples on the manifold of the test split,
and measures quality. Recall is the fraction of the test split on the manifold of the samples, and measures
diversity. Coverage (Naeem et al., ICML 2020, https://arxiv.org/abs/2002.09797) is the fraction of test
samples whose ball contains a sample; unlike recall, it is not inflated by outliers among the samples. High
precision with low recall is collapse.
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
    """Precision, recall and coverage by nearest neighbours, for standardised samples and the test split."""

    kind: Literal["precision_recall"] = "precision_recall"
    neighbours: int = key(ge=1, default=5)
    """k: the radius of a ball is the distance to the k-th nearest neighbour."""

    def evaluate(self, samples: xr.Dataset, dataset: xr.Dataset, by: EvaluationContext) -> xr.Dataset:
        import xarray as xr

        values = self.values(self.pairs(samples, dataset, by))
        return xr.Dataset({name: scalar(value, name, "higher") for name, value in values.items()})

    def values(self, pairs: Pairs) -> dict[str, float]:
        of_test, of_drawn = (_radii(within, self.neighbours) for within in (pairs.reference, pairs.drawn))
        return {
            "precision": float((pairs.between <= of_test).any(1).mean()),
            "coverage": float((pairs.between.min(0) <= of_test).mean()),
            "recall": float((of_drawn >= pairs.between.T).any(1).mean()),
        }


def fraction_on_manifold(points: np.ndarray, manifold: np.ndarray, neighbours: int) -> float:
    """The fraction of points (n, d) that lie on the manifold of another set (m, d), with k = `neighbours`."""
    from scipy.spatial.distance import cdist

    return float((cdist(points, manifold) <= _radii(cdist(manifold, manifold), neighbours)).any(1).mean())


def _radii(within: np.ndarray, neighbours: int) -> np.ndarray:
    """The distance (n,) of each point to its k-th nearest neighbour, from all distances (n, n)."""
    k = min(neighbours, len(within) - 1)
    return np.partition(within, k, axis=1)[:, k]
