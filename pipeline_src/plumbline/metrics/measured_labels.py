"""Whether samples have the requested attributes, where attributes are measured of the samples themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from plumbline.metrics import EvaluationContext, MetricSpec, scalar, split_values
from plumbline.metrics._requested import requested_attributes
from plumbline.models import Labelled

if TYPE_CHECKING:
    import xarray as xr

    from plumbline.models._labels import Measured


class MeasuredLabelsSpec(MetricSpec):
    """Fraction of samples on the requested side of each attribute's median, and of all medians at once."""

    kind: Literal["measured_labels"] = "measured_labels"
    of: str
    """Name of the latent critics or latent actor with `measured` labels, one of the study's `models`."""

    def evaluate(self, samples: xr.Dataset, dataset: xr.Dataset, by: EvaluationContext) -> xr.Dataset:
        """The fractions.

        Raises:
            ValueError: the model was not trained for measured labels.
        """
        import xarray as xr

        from plumbline.models._labels import Measured

        labels = by.model(self.of, Labelled).wanted
        if not isinstance(labels, Measured):
            raise ValueError(
                f"`of` of `{self.kind}`: `wanted` of the model {self.of!r} must be of the kind `measured`."
            )
        requested = self._requested(labels, samples, dataset, by)
        right = _labels(labels, samples["state"].values, by) == requested
        found = {
            f"has_{name}": scalar(
                right[:, i].mean(), f"fraction of samples with the requested {name}", "higher"
            )
            for i, name in enumerate(labels.attributes)
        }
        found["has_all"] = scalar(
            right.all(1).mean(), "fraction of samples with all requested attributes", "higher"
        )
        return xr.Dataset(found)

    def depends_on(self) -> dict[str, type]:
        return {self.of: Labelled}

    def _requested(
        self, labels: Measured, samples: xr.Dataset, dataset: xr.Dataset, by: EvaluationContext
    ) -> np.ndarray:
        """The requested labels (samples, C).

        They are those stored with the samples; without these, the labels of the test samples that the samples
        were drawn for; for real data, its own labels.
        """
        if (requested := requested_attributes(samples, labels.names)) is not None:
            return requested
        if "case" not in samples:
            return _labels(labels, samples["state"].values, by)
        shape = samples["state"].shape[1:]
        test = split_values(dataset, "test")[samples["case"].values.astype(int)]
        return _labels(labels, test.reshape(-1, *shape), by)


def _labels(labels: Measured, states: np.ndarray, by: EvaluationContext) -> np.ndarray:
    import torch

    with torch.no_grad():
        return labels.of({"state": by.tensor(states, torch.float32)}).cpu().numpy() > 0.5
