"""Metrics of this project."""

from __future__ import annotations

from typing import Literal

import numpy as np
import xarray as xr

from plumbline.metrics import EvaluationContext, MetricSpec, scalar


class MeanHeightSpec(MetricSpec):
    """How far the mean direction is from that of the test split, in degrees."""

    kind: Literal["mean_direction"] = "mean_direction"

    def evaluate(self, samples: xr.Dataset, dataset: xr.Dataset, by: EvaluationContext) -> xr.Dataset:
        test = dataset["state"].values[dataset["split"].values == "test"]
        drawn, real = (_mean_direction(points) for points in (samples["state"].values, test))
        angle = np.degrees(np.arccos(np.clip(drawn @ real, -1, 1)))
        return xr.Dataset(
            {"mean_direction": scalar(angle, "angle to the mean direction", "lower", "degrees")}
        )


def _mean_direction(points: np.ndarray) -> np.ndarray:
    mean = points.mean(axis=0)
    return mean / np.linalg.norm(mean)
