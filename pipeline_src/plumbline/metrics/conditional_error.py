r"""Errors of samples for the condition of a test sample, compared with the state of that test sample.

For a case with the true state y and K samples x^k for its condition, whose mean is m:

- error of the mean, and of single samples: root mean squares of m - y and of x^k - y, over entries and cases;
- relative error of the mean: the mean over cases of |m - y| / |y|, the error of operator learning (Li et al.
  2021, https://arxiv.org/abs/2010.08895);
- spread: root mean square of x^k - m;
- CRPS: E|x - y| - E|x - x'| / 2, over entries and cases (Gneiting and Raftery 2007,
  https://doi.org/10.1198/016214506000001437), which is smallest for the exact conditional distribution.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from plumbline.metrics import EvaluationContext, MetricSpec, scalar, split_values
from plumbline.metrics._ensembles import crps, root_mean_square

if TYPE_CHECKING:
    import xarray as xr


class ConditionalErrorSpec(MetricSpec):
    """Error, spread and CRPS of the samples for each test sample's condition; nothing for real data."""

    kind: Literal["conditional_error"] = "conditional_error"
    of_every_draw: ClassVar[bool] = True

    def evaluate(self, samples: xr.Dataset, dataset: xr.Dataset, by: EvaluationContext) -> xr.Dataset:
        import xarray as xr

        if "case" not in samples:
            return xr.Dataset()
        cases, members = np.unique(samples["case"].values, return_counts=True)
        # The samples of a case are adjacent, and cases are in the order of the test samples.
        draws = samples["state"].values.astype(np.float64).reshape(len(cases), int(members[0]), -1)
        truth = split_values(dataset, "test")[: len(cases)]
        mean = draws.mean(1)
        size = np.linalg.norm(truth, axis=1)
        relative = np.linalg.norm(mean - truth, axis=1)[size > 0] / size[size > 0]
        units = str(dataset["state"].attrs.get("units", "1"))
        errors = {
            "relative_error": scalar(relative.mean(), "relative error of the mean", "lower"),
            "case_error": scalar(root_mean_square(mean - truth), "error of the mean", "lower", units),
            "draw_error": scalar(
                root_mean_square(draws - truth[:, None]), "error of a single sample", "lower", units
            ),
        }
        if draws.shape[1] > 1:
            spread = root_mean_square(draws - mean[:, None])
            errors["case_spread"] = scalar(spread, "spread for one condition", "neither", units)
            errors["case_crps"] = scalar(
                crps(draws, truth), "continuous ranked probability score", "lower", units
            )
        return xr.Dataset(errors)
