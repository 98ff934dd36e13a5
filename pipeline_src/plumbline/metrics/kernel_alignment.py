"""Test error of forecasts, compared with the alignment of the tangent kernel, for several systems.

After Khalafi, Sihag, Ribeiro (https://arxiv.org/abs/2310.10791).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from plumbline.metrics import EvaluationContext, MetricSpec, half_width, scalar, split_values

if TYPE_CHECKING:
    import xarray as xr


class KernelAlignmentSpec(MetricSpec):
    """Normalised error, alignment and predicted descent of forecasts by graph filters.

    The normalised error of a system is its mean squared error, divided by that of the training mean as a
    forecast; each node is in units of its standard deviation. Intervals are 95% intervals of the mean over
    systems.
    """

    kind: Literal["kernel_alignment"] = "kernel_alignment"
    resampled: ClassVar[bool] = False

    def evaluate(self, samples: xr.Dataset, dataset: xr.Dataset, by: EvaluationContext) -> xr.Dataset:
        import xarray as xr

        if "kernel_alignment" not in samples:
            return xr.Dataset()
        count = samples.sizes["sample"]
        system = samples["system"].values
        truth = split_values(dataset, "test")[:count]
        training = split_values(dataset, "train")
        trained = dataset["system"].values[dataset["split"].values == "train"]
        predicted = samples["predicted_mean"].values.astype(np.float64)
        systems = np.unique(system)
        errors = np.array(
            [
                _normalised_error(predicted[system == r], truth[system == r], training[trained == r])
                for r in systems
            ]
        )
        first = np.array([np.flatnonzero(system == r)[0] for r in systems])
        alignment = samples["kernel_alignment"].values[first]
        descent, spectrum = (samples[f"kernel_{name}"].values[first] for name in ("descent", "spectrum"))
        of_systems = {"long_name": "normalised test error", "units": "1"}
        return xr.Dataset(
            {
                "normalised_error": scalar(errors.mean(), "normalised test error", "lower"),
                "normalised_error_interval": scalar(
                    half_width(errors), "normalised test error, half-width of the 95% interval", "neither"
                ),
                "alignment": scalar(alignment.mean(), "alignment of the tangent kernel", "higher"),
                "alignment_interval": scalar(
                    half_width(alignment), "alignment, half-width of the 95% interval", "neither"
                ),
                "error_of_system": ("system", errors, of_systems),
                "kernel_descent": (
                    ("system", "descent_step"),
                    descent,
                    {"long_name": "training error that the tangent kernel predicts"},
                ),
                "kernel_spectrum": (
                    ("system", "mode"),
                    spectrum,
                    {"long_name": "eigenvalues of the tangent kernel, relative to the largest"},
                ),
            },
            coords={
                "system": systems,
                "descent_step": np.arange(descent.shape[1]),
                "mode": np.arange(1, 1 + spectrum.shape[1]),
            },
        )


def _normalised_error(predicted: np.ndarray, truth: np.ndarray, training: np.ndarray) -> float:
    mean, scale = training.mean(0), training.std(0)
    scale = np.where(scale > 0, scale, 1.0)
    return float((((predicted - truth) / scale) ** 2).sum() / (((truth - mean) / scale) ** 2).sum())
