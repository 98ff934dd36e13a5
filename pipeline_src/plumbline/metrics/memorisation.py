"""Distance to the nearest training sample, which shows whether a method copies its training data."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from plumbline.metrics import EvaluationContext, MetricSpec, scalar, standardised
from plumbline.metrics._splits import training_blocks, training_scale

if TYPE_CHECKING:
    import xarray as xr


class MemorisationSpec(MetricSpec):
    """Median distance to the nearest training sample, divided by that of the test split. Below one, samples
    are nearer to the training data than real data is."""

    kind: Literal["memorisation"] = "memorisation"
    resampled: ClassVar[bool] = False

    def evaluate(self, samples: xr.Dataset, dataset: xr.Dataset, by: EvaluationContext) -> xr.Dataset:
        import xarray as xr
        from sklearn.neighbors import NearestNeighbors

        drawn, test = standardised(samples, dataset, "test")
        scale = training_scale(dataset)
        distance, of_test = np.full(len(drawn), np.inf), np.full(len(test), np.inf)
        for training in training_blocks(dataset):
            nearest = NearestNeighbors(n_neighbors=1).fit(training / scale)
            distance = np.minimum(distance, nearest.kneighbors(drawn)[0][:, 0])
            of_test = np.minimum(of_test, nearest.kneighbors(test)[0][:, 0])
        usual = np.median(of_test)
        attrs = {"long_name": "distance to the nearest training sample", "units": "standard deviations"}
        ratio = np.median(distance) / usual if usual > 0 else np.nan
        return xr.Dataset(
            {
                "memorisation": scalar(ratio, "distance to training data, relative to real data", "neither"),
                "nearest_training_each": ("sample", distance, attrs),
            }
        )
