"""A Gaussian in half-spaces and boxes: exact samples, and their moments by quadrature."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy import stats

from plumbline.constraints.bounds import BoundsSpec
from plumbline.constraints.polytope import PolytopeSpec
from plumbline.datasets._exact import Numbers
from plumbline.datasets.truncated_gaussian import TruncatedGaussianSpec, truncated_moments

from .exact import SPLITS, assert_moments, assert_same_distribution


def spec_of(**keys):
    return TruncatedGaussianSpec(parts=1, splits=SPLITS, **keys)


BOX = {"normals": (), "quantiles": (), "box": (-0.4, 2.5)}


@pytest.mark.parametrize("keys", [{}, BOX, {"box": (-1.5, 1.5)}])
def test_exact_samples_are_feasible_and_others_are_not(keys):
    spec = spec_of(**keys)
    data = spec.draw_part(0)
    kinds = [PolytopeSpec(matrix="matrix", limit="limit")] if spec.normals else []
    kinds += [BoundsSpec(lower="lower", upper="upper")] if spec.box else []
    for kind in kinds:
        satisfied = kind.build(data).satisfied(torch.as_tensor(data["state"].values))
        assert satisfied[40:].all() and not satisfied[:40].all()
    assert spec.contains(spec.draw_exact(2000, 0)).all()


@pytest.mark.parametrize("keys", [{}, BOX])
def test_it_is_the_gaussian_where_the_inequalities_hold(keys):
    """Against another 400,000 samples of the Gaussian that satisfy them. False alarms: 1e-4."""
    spec = spec_of(**keys)
    free = spec.unconstrained(Numbers(4, np.arange(400_000)))
    inside = free[spec.contains(free)]
    assert len(inside) > 2000
    assert_same_distribution(spec.draw_exact(10_000, 0), inside)


@pytest.mark.parametrize("walls", [1, 2])
def test_the_stored_moments_are_those_of_exact_samples(walls):
    """Of 60,000 samples: false alarms, 3e-5."""
    full = spec_of()
    spec = spec_of(normals=full.normals[:walls], quantiles=full.quantiles[:walls])
    known = spec.known()
    exact = (known["conditional_mean"].values, known["conditional_covariance"].values)
    assert_moments(spec.draw_exact(60_000, 3), *exact)


def test_moments_of_a_truncated_normal_are_those_of_scipy():
    for wall in (-3.0, 0.0, 2.0, 7.0):
        mean, variance = truncated_moments(np.array([1.0]), np.array([[4.0]]), np.array([1 + 2 * wall]))
        expected = stats.truncnorm(wall, np.inf, loc=1, scale=2)
        assert mean[0] == pytest.approx(expected.mean(), rel=1e-10)
        assert variance[0, 0] == pytest.approx(expected.var(), rel=1e-8)


def test_moments_in_a_quadrant_are_those_of_the_plane_by_quadrature():
    """Strongly correlated, one wall in the tail: a fine grid over the quadrant."""
    mean, covariance, limit = (
        np.array([0.3, -1.0]),
        np.array([[1.0, -0.9], [-0.9, 1.5]]),
        np.array([0.8, 0.1]),
    )
    axes = [np.linspace(low, low + 7, 3001) for low in limit]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1)
    weight = stats.multivariate_normal(mean, covariance).pdf(grid)
    for axis in (0, 1):  # the trapezoidal rule
        for end in (0, -1):
            weight[(end, slice(None)) if axis == 0 else (slice(None), end)] /= 2
    weight /= weight.sum()
    first = np.einsum("xy,xyi->i", weight, grid)
    second = np.einsum("xy,xyi,xyj->ij", weight, grid, grid) - np.outer(first, first)
    found = truncated_moments(mean, covariance, limit)
    np.testing.assert_allclose(found[0], first, atol=1e-5)
    np.testing.assert_allclose(found[1], second, atol=1e-5)


def test_any_number_of_parts_gives_the_same_samples():
    spec = spec_of()
    parts = [spec.model_copy(update={"parts": 3}).draw_part(i)["state"].values for i in range(3)]
    np.testing.assert_allclose(np.concatenate(parts), spec.draw_part(0)["state"].values, rtol=1e-6)


@pytest.mark.rejects
@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"normals": (), "quantiles": ()}, "give `normals` of half-spaces, a `box`, or both"),
        ({"dimension": 3}, "each row of `normals` needs 3 numbers"),
        ({"quantiles": (0.5,)}, "`quantiles` has 1 numbers, and `normals` 2 rows"),
        ({"box": (1.0, 1.0)}, "a lower and an upper bound"),
    ],
)
def test_what_is_no_set_is_refused(keys, message):
    with pytest.raises(ValidationError, match=message):
        spec_of(**keys)


@pytest.mark.rejects
def test_a_set_that_samples_hardly_reach_is_refused():
    with pytest.raises(ValueError, match="of 20000 samples of the Gaussian satisfy the inequalities"):
        spec_of(box=(3.0, 4.0)).draw_part(0)
