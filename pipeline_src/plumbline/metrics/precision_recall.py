r"""Precision and recall of manifolds (Kynkaanniemi et al., NeurIPS 2019).

A set's manifold is the union of balls around its points that reach their k-th neighbour in the set. Precision
is the share of samples on the manifold of the test split (quality); recall is the share of the test split on
the manifold of the samples (coverage). High precision with low recall is collapse.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from plumbline.metrics import MetricSpec, scalar, standardised
from plumbline.spec import key

if TYPE_CHECKING:
    import xarray as xr


class PrecisionRecallSpec(MetricSpec):
    """Precision and recall by nearest neighbours, of standardised samples and test split."""

    kind: Literal["precision_recall"] = "precision_recall"
    neighbours: int = key(ge=1, default=5)
    """k, the neighbour that a ball reaches."""

    def evaluate(self, samples: xr.Dataset, dataset: xr.Dataset, constraints: dict[str, Any]) -> xr.Dataset:
        import xarray as xr

        del constraints
        drawn, reference = standardised(samples, dataset, "test")
        return xr.Dataset(
            {
                "precision": scalar(
                    share_on_manifold(drawn, reference, self.neighbours), "precision", "higher"
                ),
                "recall": scalar(share_on_manifold(reference, drawn, self.neighbours), "recall", "higher"),
            }
        )


def share_on_manifold(points: np.ndarray, manifold: np.ndarray, neighbours: int) -> float:
    """The share of points that lie in a ball around a point of the other set."""
    from scipy.spatial.distance import cdist

    within = cdist(manifold, manifold)
    k = min(neighbours, len(manifold) - 1)
    radius = np.partition(within, k, axis=1)[:, k]
    return float((cdist(points, manifold) <= radius).any(1).mean())
