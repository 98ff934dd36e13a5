r"""Distances to constraints as the white noise that would make them.

A distance says little by itself: a divergence has another unit than a flux, and another scale. White noise of s standard
deviations of the training data, added to samples of the test split, makes a distance l(s); with its growth
kappa = (l(s) - l(0)) / s at a small s, a method's distance l is that of noise of

    l / kappa

standard deviations, the same number in every unit. It can be compared with the noise that a sampler leaves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from plumbline.metrics import EvaluationContext, MetricSpec, scalar, split_values
from plumbline.spec import key
from plumbline.storage.store import select_split

if TYPE_CHECKING:
    import xarray as xr

SEED = 20240618


class EquivalentNoiseSpec(MetricSpec):
    """Mean distance to each constraint as white noise on the data: over what noise of one deviation would make."""

    kind: Literal["equivalent_noise"] = "equivalent_noise"
    resampled: ClassVar[bool] = False
    of_every_draw: ClassVar[bool] = True
    noise: float = key("standard deviations of the data", gt=0, default=0.01)
    """Noise that the growth of the distance is measured at."""

    def evaluate(self, samples: xr.Dataset, dataset: xr.Dataset, by: EvaluationContext) -> xr.Dataset:
        import torch
        import xarray as xr

        test = select_split(dataset, "test").isel(sample=slice(0, samples.sizes["sample"]))
        clean, noisy = (torch.as_tensor(v.astype(np.float32)) for v in self._with_noise(test, dataset))
        judged = {}
        for name, constraint in by.constraints.items():
            bound = constraint.bind(test)
            without = float(bound.distance(clean).mean())
            growth = (float(bound.distance(noisy).mean()) - without) / self.noise
            mean = float(constraint.distance(torch.as_tensor(samples["state"].values)).mean())
            judged[f"equivalent_noise_{name}"] = scalar(
                mean / growth if growth > 0 else np.nan,
                f"distance to {name} as noise",
                "lower",
                "standard deviations",
            )
        return xr.Dataset(judged)

    def _with_noise(self, test: xr.Dataset, dataset: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
        """The states, and the same with noise."""
        clean, training = test["state"].values.astype(np.float64), split_values(dataset, "train")
        # As everywhere: tables are scaled by their columns, fields by one number.
        scale = training.std(0) if clean.ndim == 2 else training.std()
        return clean, clean + self.noise * scale * np.random.default_rng(SEED).standard_normal(clean.shape)
