"""How much samples change when they are given another label."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from plumbline.metrics import EvaluationContext, MetricSpec, scalar
from plumbline.metrics._splits import training_moments

if TYPE_CHECKING:
    import xarray as xr


class IdentitySpec(MetricSpec):
    """Distance of edited samples, or of edited latent vectors, from their originals."""

    kind: Literal["identity"] = "identity"

    def evaluate(self, samples: xr.Dataset, dataset: xr.Dataset, by: EvaluationContext) -> xr.Dataset:
        import xarray as xr

        found = {}
        if "latent_shift" in samples:
            shift = float(samples["latent_shift"].mean())
            title = "mean squared distance moved in the latent space"
            found["latent_shift"] = scalar(shift, title, "lower", "posterior standard deviations²")
        if "source" in samples:
            scale = training_moments(dataset, per_column=False)[0]
            difference = (samples["state"].values - samples["source"].values) / scale
            distance = np.sqrt((difference**2).reshape(len(difference), -1).mean(1)).mean()
            title = "distance from the original"
            found["distance_to_source"] = scalar(distance, title, "lower", "standard deviations")
        return xr.Dataset(found)
