"""Counts of categories: totals, moments and the independence of a sample from the others."""

import numpy as np
import pytest
from pydantic import ValidationError

from plumbline.datasets.category_counts import CategoryCountsSpec

SPLITS = {"train": 20000, "validation": 2, "test": 2}


def spec(**values):
    return CategoryCountsSpec(parts=1, splits=SPLITS, **values)


@pytest.mark.parametrize("overdispersion", [0.0, 0.05])
def test_counts_have_their_totals_and_moments(overdispersion):
    """The mean and the mean square of 20,000 standardised residuals lie within five standard errors."""
    data = spec(overdispersion=overdispersion, totals=(5, 60)).draw_part(0)
    counts, total, p = (data[name].values for name in ("state", "total", "probabilities"))
    np.testing.assert_array_equal(counts.sum(1), total)
    assert (total.min(), total.max()) == (5, 60) and np.all(counts >= 0)
    np.testing.assert_allclose(p.sum(1), 1.0)
    k = total[:, None]
    factor = 1 + (k - 1) * overdispersion / (1 + overdispersion)
    residual = (counts - k * p) / np.sqrt(k * p * (1 - p) * factor)
    for values, expected in ((residual, 0.0), (residual**2, 1.0)):
        error = values.std(0) / np.sqrt(len(values))
        assert np.abs((values.mean(0) - expected) / error).max() < 5


def test_a_sample_does_not_depend_on_the_others():
    one = spec()
    names = one.splits.names()
    whole = one.draw(np.arange(50), names[:50])
    part = one.draw(np.arange(20, 30), names[20:30])
    for name in ("state", "condition", "total"):
        np.testing.assert_array_equal(whole[name].values[20:30], part[name].values)


def test_the_probabilities_are_linear_without_curvature():
    covariates = np.random.default_rng(0).normal(size=(200, 3))
    for curvature, linear in ((0.0, True), (1.0, False)):
        logits = np.log(spec(curvature=curvature).probabilities(covariates))
        design = np.column_stack([np.ones(200), covariates])
        contrasts = logits[:, 1:] - logits[:, :1]
        rest = np.linalg.lstsq(design, contrasts, rcond=None)[1]
        assert (rest.max() < 1e-20) == linear


def test_totals_must_be_a_range():
    with pytest.raises(ValidationError, match="smallest and the largest total"):
        spec(totals=(5, 4))
