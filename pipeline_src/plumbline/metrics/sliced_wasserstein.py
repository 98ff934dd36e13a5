r"""The sliced Wasserstein distance to the test split (Rabin et al. 2012; Bonneel et al. 2015).

The mean over random directions of the squared 2-Wasserstein distance of the projections, under the root.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import numpy as np

from plumbline.metrics import EvaluationContext, MetricSpec, scalar, standardised
from plumbline.spec import key

if TYPE_CHECKING:
    import xarray as xr


class SlicedWassersteinSpec(MetricSpec):
    """Sliced 2-Wasserstein distance of the standardised samples to the test split."""

    kind: Literal["sliced_wasserstein"] = "sliced_wasserstein"
    directions: int = key(ge=1, default=256)
    """Random directions, the same for every method."""

    def evaluate(self, samples: xr.Dataset, dataset: xr.Dataset, by: EvaluationContext) -> xr.Dataset:
        import xarray as xr
        from ot.sliced import sliced_wasserstein_distance

        drawn, reference = standardised(samples, dataset, "test")
        directions = random_directions(drawn.shape[1], self.directions)
        distance = sliced_wasserstein_distance(drawn, reference, projections=directions)
        unit = "standard deviations"
        return xr.Dataset(
            {"sliced_wasserstein": scalar(distance, "sliced Wasserstein distance", "lower", unit)}
        )


@lru_cache(maxsize=1)
def random_directions(dimension: int, count: int) -> np.ndarray:
    """`count` unit vectors (dimension, count), uniform on the sphere, the same ones at every call."""
    from ot.sliced import get_random_projections

    return np.asarray(get_random_projections(dimension, count, seed=0))
