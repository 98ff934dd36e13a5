"""Reconstruction error, evidence bound and likelihood of the test split, for autoencoders.

The evidence lower bound (ELBO) is that of Kingma and Welling (2014, https://arxiv.org/abs/1312.6114); the
method estimates the likelihood by importance sampling.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from plumbline.metrics import (
    NO_LIKELIHOOD,
    EvaluationContext,
    MetricSpec,
    scalar,
    split_values,
    truth_is_feasible,
)

if TYPE_CHECKING:
    import xarray as xr


class AutoencodingSpec(MetricSpec):
    """Squared error of reconstructions, negative evidence bound and negative log-likelihood; nothing for
    samples without a reconstruction."""

    kind: Literal["autoencoding"] = "autoencoding"

    def evaluate(self, samples: xr.Dataset, dataset: xr.Dataset, by: EvaluationContext) -> xr.Dataset:
        import xarray as xr

        if "reconstruction" not in samples:
            return xr.Dataset()
        count = samples.sizes["sample"]
        truth = split_values(dataset, "test")[:count]
        error = ((samples["reconstruction"].values.reshape(count, -1) - truth) ** 2).sum(1)
        unit = dataset["state"].attrs.get("units", "1")
        results = {
            "reconstruction_error": scalar(
                error.mean(), "squared error of a reconstruction", "lower", f"{unit}²" if unit != "1" else "1"
            )
        }
        for name, title in (("elbo", "negative bound"), ("log_likelihood", "negative log-likelihood")):
            for suffix, of in (("", ""), ("_free", ", in all coordinates")):
                if name + suffix in samples:
                    known = bool(suffix) or truth_is_feasible(samples, dataset, by)
                    value = -np.mean(samples[name + suffix].values) if known else np.nan
                    results[f"negative_{name}{suffix}"] = scalar(
                        value, title + of, "lower", "nats per sample", remark="" if known else NO_LIKELIHOOD
                    )
        for name, constraint in by.constraints.items():
            violation = constraint.violation(by.tensor(samples["reconstruction"].values))
            results[f"mean_relative_violation_{name}"] = scalar(
                violation.max(), f"largest relative violation of {name} by a reconstruction", "lower"
            )
        return xr.Dataset(results)
