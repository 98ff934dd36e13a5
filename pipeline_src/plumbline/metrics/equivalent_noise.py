r"""Distances to constraints, expressed as the amount of white noise that causes the same distance.

Distances to different constraints are hard to compare: a divergence and a flux have different units and
scales. White noise of s standard deviations of the training data, added to the test split, causes a mean
distance l(s). Its growth at a small s is kappa = (l(s) - l(0)) / s. A method's mean distance l is then
equivalent to noise of

    l / kappa

standard deviations, independently of units. It can be compared with the noise that a sampler leaves in its
samples.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from plumbline.metrics import EvaluationContext, MetricSpec, scalar
from plumbline.metrics._splits import training_std
from plumbline.spec import key
from plumbline.storage.store import select_split

if TYPE_CHECKING:
    import xarray as xr

SEED = 20240618


class EquivalentNoiseSpec(MetricSpec):
    """Mean distance to each constraint, divided by that caused by white noise of one standard deviation."""

    kind: Literal["equivalent_noise"] = "equivalent_noise"
    resampled: ClassVar[bool] = False
    of_every_draw: ClassVar[bool] = True
    noise: float = key("standard deviations of the data", gt=0, default=0.01)
    """Size of the noise that the growth of the distance is measured with."""

    def evaluate(self, samples: xr.Dataset, dataset: xr.Dataset, by: EvaluationContext) -> xr.Dataset:
        import xarray as xr

        test = select_split(dataset, "test").isel(sample=slice(0, samples.sizes["sample"]))
        clean, noisy = (by.tensor(v.astype(np.float32)) for v in self._with_noise(test, dataset))
        results = {}
        of_test = by.bound_to(test)
        for name, constraint in by.constraints.items():
            bound = of_test.constraints[name]
            without = float(bound.distance(clean).mean())
            growth = (float(bound.distance(noisy).mean()) - without) / self.noise
            mean = float(constraint.distance(by.tensor(samples["state"].values)).mean())
            results[f"equivalent_noise_{name}"] = scalar(
                mean / growth if growth > 0 else np.nan,
                f"distance to {name} as noise",
                "lower",
                "standard deviations",
            )
        return xr.Dataset(results)

    def _with_noise(self, test: xr.Dataset, dataset: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
        """The states of the test split, without and with noise."""
        clean = test["state"].values.astype(np.float64)
        scale = training_std(dataset)  # as in `standardised`
        scale = scale.reshape(clean.shape[1:]) if scale.ndim else scale
        return clean, clean + self.noise * scale * np.random.default_rng(SEED).standard_normal(clean.shape)
