"""Gaussians between bounds, against quadrature and rejection."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal, norm

from plumbline.distributions.truncated_gaussian import log_interval_probability, truncated_gaussian
from plumbline.distributions.truncated_normal import truncated_moments

INF = math.inf


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


def test_one_interval_is_exact():
    mean, variance = tensor([[0.3], [-40.0]]), tensor([[2.0]])
    found = truncated_gaussian(mean, variance, tensor([1.0]), tensor([INF]))
    wanted = truncated_moments(mean, variance.expand(2, 1), torch.ones(2, 1), torch.full((2, 1), INF))
    torch.testing.assert_close(found.mean, wanted[0])
    torch.testing.assert_close(found.covariance[:, 0], wanted[1])
    exact = norm.logsf((1 - mean[:, 0].numpy()) / math.sqrt(2))
    np.testing.assert_allclose(found.log_probability.numpy(), exact)


def test_independent_intervals_are_exact():
    mean, variance = tensor([[0.0, 1.0, -2.0]]), tensor([1.0, 0.5, 2.0])
    lower, upper = tensor([-INF, 0.0, 1.0]), tensor([0.2, 3.0, 1.5])
    found = truncated_gaussian(mean, torch.diag(variance), lower, upper)
    wanted = truncated_moments(mean[0], variance, lower, upper)
    torch.testing.assert_close(found.mean[0], wanted[0])
    torch.testing.assert_close(found.covariance[0], torch.diag(wanted[1]))
    std = variance.sqrt().numpy()
    sides = [norm.cdf((bound.numpy() - mean[0].numpy()) / std) for bound in (lower, upper)]
    assert float(found.log_probability.exp()) == pytest.approx(np.prod(sides[1] - sides[0]))


def test_correlated_intervals_agree_with_the_exact_probability():
    """An orthant of five coordinates with correlation 1/2 has the probability 1/6; expectation propagation is
    within 2% (measured: .2%)."""
    covariance = 0.5 * (torch.eye(5) + torch.ones(5, 5)).double()
    found = truncated_gaussian(torch.zeros(1, 5), covariance, torch.zeros(5), torch.full((5,), INF))
    assert float(found.log_probability.exp()) == pytest.approx(1 / 6, rel=0.02)


def test_correlated_moments_agree_with_rejection():
    """Means and covariances of 2,000,000 kept draws have standard errors of about .001; the approximation is
    within .02 standard deviations (measured: .01)."""
    generator = np.random.default_rng(0)
    covariance = np.array([[1.0, 0.7, 0.2], [0.7, 2.0, -0.3], [0.2, -0.3, 0.5]])
    mean = np.array([0.3, -0.5, 0.1])
    lower, upper = np.array([0.0, -1.0, -INF]), np.array([INF, 1.0, 0.3])
    x = generator.multivariate_normal(mean, covariance, 4_000_000)
    x = x[((x >= lower) & (x <= upper)).all(1)]
    found = truncated_gaussian(tensor(mean)[None], tensor(covariance), tensor(lower), tensor(upper))
    np.testing.assert_allclose(found.mean[0].numpy(), x.mean(0), atol=0.02)
    np.testing.assert_allclose(found.covariance[0].numpy(), np.cov(x.T), atol=0.03)
    kept = len(x) / 4_000_000
    assert float(found.log_probability.exp()) == pytest.approx(kept, rel=0.02)


def test_other_variables_follow():
    """E and Cov of x = B y from weights and reduction equal B times those of y."""
    covariance = tensor([[1.0, 0.6], [0.6, 1.5]])
    rows = tensor([[1.0, 2.0], [0.0, 1.0], [3.0, -1.0]])
    mean = tensor([[0.2, -0.3]])
    found = truncated_gaussian(mean, covariance, tensor([0.0, -1.0]), tensor([2.0, 0.5]))
    cross = rows @ covariance
    torch.testing.assert_close(mean @ rows.mT + found.weights @ cross.mT, found.mean @ rows.mT)
    reduced = rows @ covariance @ rows.mT - cross @ found.reduction[0] @ cross.mT
    torch.testing.assert_close(reduced, rows @ found.covariance[0] @ rows.mT)


def test_a_singular_covariance_is_no_problem():
    """Two equal rows between nested intervals are one row between the inner interval."""
    covariance = torch.ones(2, 2, dtype=torch.float64)
    found = truncated_gaussian(torch.zeros(1, 2), covariance, tensor([0.0, 0.5]), tensor([INF, INF]))
    wanted = truncated_moments(tensor([0.0]), tensor([1.0]), tensor([0.5]), tensor([INF]))
    torch.testing.assert_close(found.mean[0], wanted[0].expand(2), rtol=0.03, atol=0)


def test_probabilities_keep_their_digits_in_the_tails():
    mean, variance = tensor([0.0, 0.0, 0.0]), tensor([1.0, 1.0, 1.0])
    found = log_interval_probability(mean, variance, tensor([30.0, -31.0, -1.0]), tensor([INF, -30.0, 2.0]))
    exact = [norm.logsf(30), norm.logsf(30), math.log(norm.cdf(2) - norm.cdf(-1))]
    np.testing.assert_allclose(found.numpy(), exact, rtol=1e-12)


def test_a_pair_agrees_with_the_bivariate_distribution():
    covariance = np.array([[1.0, -0.4], [-0.4, 1.0]])
    exact = multivariate_normal([0, 0], covariance).cdf([-0.5, -0.2])
    found = truncated_gaussian(
        torch.zeros(1, 2), tensor(covariance), tensor([-INF, -INF]), tensor([-0.5, -0.2])
    )
    assert float(found.log_probability.exp()) == pytest.approx(exact, rel=0.01)


@pytest.mark.parametrize("far", [10.0**power for power in range(1, 13)])
@pytest.mark.parametrize("correlation", [0.0, 0.9, -0.9])
def test_digits_are_kept_however_far_the_bounds_are(far, correlation):
    """One active bound: y_1 is a tail of its own, and y_2, far within its bound, follows by regression.

    The probability is that of the tail alone: log Phi(-z) = -z^2 / 2 - log(z sqrt(2 pi)) to O(1 / z^2).
    """
    covariance = tensor([[1.0, correlation], [correlation, 1.0]])
    mean = tensor([[-far, 20 * far]])
    found = truncated_gaussian(mean, covariance, torch.zeros(2), torch.full((2,), INF))
    tail = truncated_moments(mean[:, 0], torch.ones(1), torch.zeros(1), torch.full((1,), INF))[0]
    torch.testing.assert_close(found.mean[:, 0], tail, rtol=1e-8, atol=0.0)
    torch.testing.assert_close(found.mean[:, 1], mean[:, 1] + correlation * (tail + far))
    tail_probability = float(torch.special.log_ndtr(tensor([-far])))
    assert float(found.log_probability) == pytest.approx(tail_probability, rel=1e-6)
    least = torch.linalg.eigvalsh(found.covariance).min()
    assert float(least) > 0


@pytest.mark.parametrize("far", [1e3, 1e5, 1e8])
def test_two_far_bounds_have_the_mean_of_the_nearest_corner(far):
    """The mean lies at the corner (0, 0) to O(1 / far), and the probability is that of its density."""
    covariance = tensor([[1.0, 0.9], [0.9, 1.0]])
    mean = tensor([[-far, -far]])
    found = truncated_gaussian(mean, covariance, torch.zeros(2), torch.full((2,), INF))
    # Near the corner, the density is exponential with these rates.
    rates = torch.linalg.solve(covariance, -mean[0])
    torch.testing.assert_close(found.mean[0], 1 / rates, rtol=1e-3, atol=0.0)
    exponent = -float(mean[0] @ torch.linalg.solve(covariance, mean[0])) / 2
    assert float(found.log_probability) == pytest.approx(exponent, rel=2e-3)
