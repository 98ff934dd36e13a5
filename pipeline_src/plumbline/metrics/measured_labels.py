"""Whether samples have the attributes that were asked for, as these measure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from plumbline.metrics import EvaluationContext, MetricSpec, scalar, split_values
from plumbline.metrics._wanted import wanted_attributes

if TYPE_CHECKING:
    import xarray as xr


class MeasuredLabelsSpec(MetricSpec):
    """Share of the samples on the side of the median that was asked for, of each attribute; of all together."""

    kind: Literal["measured_labels"] = "measured_labels"
    of: str
    """Name of the latent critics or actor whose `measured` labels are asked about, one of the study's `models`."""

    def evaluate(self, samples: xr.Dataset, dataset: xr.Dataset, by: EvaluationContext) -> xr.Dataset:
        import xarray as xr

        labels = by.models[self.of].wanted
        wanted = self._wanted(labels, samples, dataset)
        right = _labels(labels, samples["state"].values) == wanted
        found = {
            f"has_{name}": scalar(right[:, i].mean(), f"samples with the wanted {name}", "higher")
            for i, name in enumerate(labels.attributes)
        }
        found["has_all"] = scalar(right.all(1).mean(), "samples with all that was wanted", "higher")
        return xr.Dataset(found)

    def depends_on(self) -> dict[str, str]:
        return {self.of: "labels"}

    def _wanted(self, labels: Any, samples: xr.Dataset, dataset: xr.Dataset) -> np.ndarray:
        """The labels asked for: as they stand beside the samples, or those of the test samples that they were drawn for."""
        if (told := wanted_attributes(samples, labels.names)) is not None:
            return told
        if "case" not in samples:
            return _labels(labels, samples["state"].values)
        shape = samples["state"].shape[1:]
        test = split_values(dataset, "test")[samples["case"].values.astype(int)]
        return _labels(labels, test.reshape(-1, *shape))


def _labels(labels: Any, states: np.ndarray) -> np.ndarray:
    import torch

    with torch.no_grad():
        return labels.of({"state": torch.as_tensor(states, dtype=torch.float32)}).numpy() > 0.5
