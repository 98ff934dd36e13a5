"""Distributions on the feasible set compared with the push-forward of the free Gaussian."""

import numpy as np
import pytest
import torch
from scipy import stats

from plumbline.constraints._linear_equality import LinearEquality
from plumbline.distributions.constrained_gaussian import ConstrainedGaussian
from plumbline.distributions.likelihoods import LikelihoodSpec
from plumbline.linalg.maps import GroupSum
from plumbline.spec import kinds, of_kind

DOUBLE = torch.float64
N = 6
LAWS = [
    {"kind": "conditioned"},
    {"kind": "projected"},
    {"kind": "completed", "pivots": "last"},
    {"kind": "completed", "pivots": "first"},
]


def equality(rows: str) -> LinearEquality:
    g = torch.Generator().manual_seed(3)
    if rows == "groups":
        weights = torch.tensor([1.0, 2.0, -0.5, 1.0, 0.3, 0.0], dtype=DOUBLE)
        groups = torch.tensor([0, 1, 0, 1, 0, 1])
        return LinearEquality(GroupSum(groups, weights), torch.randn(4, 2, generator=g, dtype=DOUBLE))
    matrix = torch.randn(2, N, generator=g, dtype=DOUBLE)
    return LinearEquality(matrix, torch.randn(4, 2, generator=g, dtype=DOUBLE))


def built(distribution: dict, rows: str):
    g = torch.Generator().manual_seed(1)
    mean = torch.randn(4, N, generator=g, dtype=DOUBLE)
    variance = torch.rand(4, N, generator=g, dtype=DOUBLE) + 0.2
    constraint = equality(rows)
    return (
        of_kind(LikelihoodSpec, distribution).distribution(mean, variance, constraint),
        mean,
        variance,
        constraint,
    )


def correction(distribution: dict, variance: np.ndarray, matrix: np.ndarray, pivots) -> np.ndarray:
    """The gain K in z + K (k - A z), computed from the definitions."""
    if distribution["kind"] == "conditioned":
        return np.diag(variance) @ matrix.T @ np.linalg.inv(matrix @ np.diag(variance) @ matrix.T)
    if distribution["kind"] == "projected":
        return np.linalg.pinv(matrix)
    gain = np.zeros((N, len(matrix)))
    gain[pivots] = np.linalg.inv(matrix[:, pivots])
    return gain


@pytest.mark.parametrize("distribution", LAWS, ids=str)
@pytest.mark.parametrize("rows", ["dense", "groups"])
def test_moments_and_density_are_those_of_the_push_forward(distribution, rows):
    found, mean, variance, constraint = built(distribution, rows)
    y = found.sample()
    matrix = (
        constraint.linear_map.matrix.numpy() if rows == "dense" else constraint.linear_map.dense().numpy()
    )
    pivots = None
    if distribution["kind"] == "completed":
        pivots = constraint.pivots(last=distribution["pivots"] == "last").numpy()
    for i in range(4):
        m, s, k = mean[i].numpy(), variance[i].numpy(), constraint.target[i].numpy()
        gain = correction(distribution, s, matrix, pivots)
        keep = np.eye(N) - gain @ matrix
        expected_mean, expected_cov = m + gain @ (k - matrix @ m), keep @ np.diag(s) @ keep.T
        np.testing.assert_allclose(found.mean[i], expected_mean, atol=1e-12)
        np.testing.assert_allclose(found.variance[i], np.diag(expected_cov), atol=1e-12)
        basis = np.linalg.svd(matrix)[2][len(matrix) :].T
        distribution_in_basis = stats.multivariate_normal(
            basis.T @ expected_mean, basis.T @ expected_cov @ basis
        )
        np.testing.assert_allclose(
            found.log_prob(y)[i], distribution_in_basis.logpdf(basis.T @ y[i].numpy()), atol=1e-9
        )
    assert (constraint.violation(y) < 1e-14).all()
    if rows == "groups":
        torch.testing.assert_close(found.log_prob_by_row(y).sum(-1), found.log_prob(y))


@pytest.mark.parametrize("distribution", LAWS, ids=str)
@pytest.mark.parametrize("rows", ["dense", "groups"])
def test_samples_have_the_stated_moments(distribution, rows):
    """Means and variances of 40,000 samples by z-tests at 5 standard errors: false alarms under 1e-4."""
    found, *_ = built(distribution, rows)
    draws = 40_000
    z = found.sample((draws,))
    free = found.variance > 1e-12
    error = (z.mean(0) - found.mean).abs()
    assert (error[free] / (found.variance / draws).sqrt()[free]).max() < 5
    assert error[~free].numel() == 0 or error[~free].max() < 1e-12
    spread = (z.var(0)[free] / found.variance[free] - 1).abs()
    assert spread.max() < 5 * (2 / draws) ** 0.5


@pytest.mark.parametrize("rows", ["dense", "groups"])
def test_conditioning_is_that_of_the_constrained_gaussian(rows):
    """Agrees with an independent implementation of the same distribution."""
    found, mean, variance, constraint = built({"kind": "conditioned"}, rows)
    other = ConstrainedGaussian(mean, variance, constraint)
    y, target = other.sample(), torch.randn(4, N, dtype=DOUBLE)
    torch.testing.assert_close(found.mean, other.mean)
    torch.testing.assert_close(found.variance, other.variance)
    torch.testing.assert_close(found.log_prob(y), other.log_prob(y))
    torch.testing.assert_close(found.expected_l1(target), other.expected_l1(target))
    torch.testing.assert_close(found.expected_l2(target), other.expected_l2(target))


@pytest.mark.parametrize("distribution", LAWS, ids=str)
def test_gradients_are_those_of_finite_differences(distribution):
    constraint = equality("dense")
    y = constraint.project(torch.randn(4, N, dtype=DOUBLE))

    def numbers(mean, variance):
        found = of_kind(LikelihoodSpec, distribution).distribution(mean, variance, constraint)
        return found.mean, found.variance, found.log_prob(y), found.expected_l1(torch.zeros(N, dtype=DOUBLE))

    inputs = (torch.randn(4, N, dtype=DOUBLE), torch.rand(4, N, dtype=DOUBLE) + 0.3)
    assert torch.autograd.gradcheck(numbers, [x.requires_grad_() for x in inputs])


def test_pivots_are_taken_from_the_end_asked_for():
    matrix = torch.tensor([[1.0, 0.0, 2.0, 4.0, 0.0], [0.0, 1.0, 1.0, 2.0, 0.0]])
    constraint = LinearEquality(matrix, torch.zeros(2))
    assert constraint.pivots(last=False).tolist() == [0, 1]
    # The last column is zero, and the two before it depend on each other.
    assert constraint.pivots(last=True).tolist() == [1, 3]
    sums = LinearEquality(
        GroupSum(torch.tensor([0, 1, 0, 1]), torch.tensor([1.0, 1.0, 1.0, 0.0])), torch.zeros(2)
    )
    assert sums.pivots(last=True).tolist() == [2, 1]
    assert sums.pivots(last=False).tolist() == [0, 1]


def test_every_kind_is_tested_here():
    assert set(kinds(LikelihoodSpec)) == {distribution["kind"] for distribution in LAWS} | {"independent"}
