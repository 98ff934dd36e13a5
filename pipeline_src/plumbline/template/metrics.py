"""Metrics of this project."""

from __future__ import annotations

from typing import Literal

import numpy as np
import xarray as xr

from plumbline.metrics import EvaluationContext, MetricSpec, scalar


class AngleWassersteinSpec(MetricSpec):
    """The 1-Wasserstein distance between the angles of the samples and those of the test split."""

    kind: Literal["angle_wasserstein"] = "angle_wasserstein"

    def evaluate(self, samples: xr.Dataset, dataset: xr.Dataset, by: EvaluationContext) -> xr.Dataset:
        from scipy.stats import wasserstein_distance

        test = dataset["state"].sel(sample=dataset["split"] == "test").values[: samples.sizes["sample"]]
        distance = wasserstein_distance(_angles(samples["state"].values), _angles(test))
        return xr.Dataset(
            {"angle_wasserstein": scalar(distance, "Wasserstein distance of the angles", "lower", "rad")}
        )


def _angles(points: np.ndarray) -> np.ndarray:
    return np.arctan2(points[:, 1], points[:, 0])
