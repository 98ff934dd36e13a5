r"""The sliced Wasserstein distance to the test split.

It is the square root of the mean, over random directions, of the squared 2-Wasserstein distance between the
projections of both sets onto the direction (Rabin et al. 2012, https://doi.org/10.1007/978-3-642-24785-9_37;
Bonneel et al. 2015, https://doi.org/10.1007/s10851-014-0506-3).
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
    """Sliced 2-Wasserstein distance between the standardised samples and the test split."""

    kind: Literal["sliced_wasserstein"] = "sliced_wasserstein"
    directions: int = key(ge=1, default=256)
    """Number of random directions, the same ones for every method."""

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
    """Unit vectors (dimension, count), uniform on the sphere; the same ones in every call."""
    from ot.sliced import get_random_projections

    return np.asarray(get_random_projections(dimension, count, seed=0))
