"""Gamma variables given their sum, against the Dirichlet distribution and rejection in a thin shell."""

import numpy as np
import pytest
import torch
from scipy import stats

from plumbline.constraints.simplex import SimplexSpec
from plumbline.datasets._exact import Numbers
from plumbline.datasets.dirichlet import DirichletSpec

from .exact import SPLITS, assert_moments, assert_same_distribution


@pytest.fixture
def spec():
    return DirichletSpec(parts=1, splits=SPLITS)


def test_samples_are_on_the_simplex_and_the_same_in_any_part(spec):
    data = spec.draw_part(0)
    simplex = SimplexSpec().build(data)
    state = torch.as_tensor(data["state"].values)
    assert (simplex.violation(state)[40:] < 1e-6).all() and (simplex.violation(state)[:40] > 1e-4).all()
    assert np.abs(spec.draw_exact(1000, 0).sum(1) - 1).max() < 1e-14
    parts = [spec.model_copy(update={"parts": 3}).draw_part(i)["state"].values for i in range(3)]
    np.testing.assert_array_equal(np.concatenate(parts), state)


@pytest.mark.parametrize("shapes", [(0.6, 1.0, 2.0, 4.0), (0.1, 0.1, 0.3)])
def test_moments_and_marginals_are_those_of_the_dirichlet_distribution(shapes):
    """Moments of 100,000 samples at 5 standard errors; a marginal is a Beta distribution: 1e-4."""
    spec = DirichletSpec(shapes=shapes, parts=1, splits=SPLITS)
    known, x = spec.known(), spec.draw_exact(100_000, 1)
    exact = stats.dirichlet(shapes)
    np.testing.assert_allclose(known["conditional_mean"], exact.mean())
    np.testing.assert_allclose(known["conditional_covariance"], exact.cov(), atol=1e-12)
    assert_moments(x, exact.mean(), exact.cov())
    for i, shape in enumerate(shapes):
        found = stats.kstest(x[:, i], stats.beta(shape, sum(shapes) - shape).cdf)
        assert found.pvalue > 1e-4 / len(shapes)


def test_it_is_that_of_variables_whose_sum_is_nearly_one(spec):
    """|sum - 1| < .01 of 400,000 samples. False alarms: 1e-4."""
    x = spec.unconstrained(Numbers(2, np.arange(400_000)))
    assert x.sum(1).mean() == pytest.approx(1, abs=0.01)
    near = np.abs(x.sum(1) - 1) < 0.01
    assert near.sum() > 3000
    shell = x[near] / x[near].sum(1, keepdims=True)
    assert_same_distribution(shell, spec.draw_exact(20_000, 0))
    gamma = stats.kstest(x[:20_000, 0], stats.gamma(0.6, scale=1 / 7.6).cdf)
    assert gamma.pvalue > 1e-4
