r"""Precision and recall of manifolds (Kynkaanniemi et al., NeurIPS 2019).

A set's manifold is the union of balls around its points that reach their k-th neighbour in the set. Precision
is the share of samples on the manifold of the test split (quality); recall is the share of the test split on
the manifold of the samples. Coverage (Naeem et al., ICML 2020) is the share of the test split whose own ball holds a
sample, which an outlier among the samples cannot inflate. High precision with low recall is collapse.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from plumbline.metrics import Instruments, MetricSpec, scalar, standardised
from plumbline.spec import key

if TYPE_CHECKING:
    import xarray as xr


class PrecisionRecallSpec(MetricSpec):
    """Precision, recall and coverage by nearest neighbours, of standardised samples and test split."""

    kind: Literal["precision_recall"] = "precision_recall"
    neighbours: int = key(ge=1, default=5)
    """k, the neighbour that a ball reaches."""

    def evaluate(self, samples: xr.Dataset, dataset: xr.Dataset, by: Instruments) -> xr.Dataset:
        import xarray as xr

        del by
        drawn, reference = standardised(samples, dataset, "test")
        return xr.Dataset(
            {
                "precision": scalar(
                    share_on_manifold(drawn, reference, self.neighbours), "precision", "higher"
                ),
                "coverage": scalar(share_covered(reference, drawn, self.neighbours), "coverage", "higher"),
                "recall": scalar(share_on_manifold(reference, drawn, self.neighbours), "recall", "higher"),
            }
        )


def share_on_manifold(points: np.ndarray, manifold: np.ndarray, neighbours: int) -> float:
    """The share of points that lie in a ball around a point of the other set."""
    from scipy.spatial.distance import cdist

    return float((cdist(points, manifold) <= _radii(manifold, neighbours)).any(1).mean())


def share_covered(points: np.ndarray, samples: np.ndarray, neighbours: int) -> float:
    """The share of points whose own ball, among the points, holds a sample."""
    from scipy.spatial.distance import cdist

    return float((cdist(points, samples).min(1) <= _radii(points, neighbours)).mean())


def _radii(points: np.ndarray, neighbours: int) -> np.ndarray:
    """The distance of each point to its k-th neighbour in the set."""
    from scipy.spatial.distance import cdist

    k = min(neighbours, len(points) - 1)
    return np.partition(cdist(points, points), k, axis=1)[:, k]
