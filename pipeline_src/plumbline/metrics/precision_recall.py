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
from plumbline.metrics._pairs import Distances
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
        precise: list[np.ndarray] = []
        nearest, recalled = np.full(len(of_test), np.inf), np.zeros(len(of_test), bool)
        for first, between in pairs.between.blocks():
            precise.append(np.any(between <= of_test, axis=1))
            nearest = np.minimum(nearest, between.min(0))
            recalled |= (of_drawn[first : first + len(between), None] >= between).any(0)
        return {
            "precision": float(np.concatenate(precise).mean()),
            "coverage": float((nearest <= of_test).mean()),
            "recall": float(recalled.mean()),
        }


def fraction_on_manifold(points: np.ndarray, manifold: np.ndarray, neighbours: int) -> float:
    """The fraction of points (n, d) that lie on the manifold of another set (m, d), with k = `neighbours`."""
    radii = _radii(Distances(manifold, manifold), neighbours)
    inside = [(block <= radii).any(1) for _, block in Distances(points, manifold).blocks()]
    return float(np.concatenate(inside).mean())


def _radii(within: Distances, neighbours: int) -> np.ndarray:
    """The distance (n,) of each point to its k-th nearest neighbour, from all distances (n, n)."""
    return within.nearest(min(neighbours, len(within.rows) - 1))
