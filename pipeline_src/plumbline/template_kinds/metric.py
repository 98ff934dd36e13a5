"""The metric `example`: replace the formula by yours."""

from __future__ import annotations

from typing import Literal

import xarray as xr

from plumbline.metrics import EvaluationContext, MetricSpec, scalar


class ExampleSpec(MetricSpec):
    """The difference between the mean of the samples and that of the test split."""

    kind: Literal["example"] = "example"

    def evaluate(self, samples: xr.Dataset, dataset: xr.Dataset, by: EvaluationContext) -> xr.Dataset:
        test = dataset["state"].isel(sample=(dataset["split"] == "test").values)
        difference = abs(float(samples["state"].mean()) - float(test.mean()))
        unit = str(dataset["state"].attrs.get("units", "1"))
        return xr.Dataset({"example": scalar(difference, "difference of the means", "lower", unit)})
