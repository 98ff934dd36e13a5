"""Conditional moments against the formula on dense matrices, and against Monte Carlo."""

import torch

from plumbline.constraints.linear.maps import Dense
from plumbline.distributions.conditioning import conditioned_gaussian


def setting():
    g = torch.Generator().manual_seed(3)
    matrix = torch.randn(2, 6, generator=g, dtype=torch.float64)
    mean = torch.randn(3, 6, generator=g, dtype=torch.float64)
    variance = torch.rand(3, 6, generator=g, dtype=torch.float64) + 0.2
    target = torch.randn(3, 2, generator=g, dtype=torch.float64)
    return matrix, mean, variance, target


def test_moments_match_the_dense_formula():
    matrix, mean, variance, target = setting()
    found, covariance = conditioned_gaussian(mean, variance, Dense(matrix), target)
    full = torch.diag_embed(variance)
    gain = full @ matrix.mT @ torch.linalg.inv(matrix @ full @ matrix.mT)
    torch.testing.assert_close(found, mean + (gain @ (target - mean @ matrix.mT)[..., None]).squeeze(-1))
    exact = full - gain @ matrix @ full
    torch.testing.assert_close(covariance.dense(), exact)
    torch.testing.assert_close(covariance.diagonal(), exact.diagonal(dim1=1, dim2=2))
    x = torch.randn(3, 6, dtype=torch.float64)
    torch.testing.assert_close(covariance.matmul(x), (exact @ x[..., None]).squeeze(-1))


def test_moments_match_corrected_draws():
    """Matheron's rule on 400,000 draws. Bounds of 5 standard errors on 24 numbers: a false alarm in 70,000 runs."""
    matrix, mean, variance, target = (t[:1] if t.shape[0] == 3 else t for t in setting())
    found, covariance = conditioned_gaussian(mean, variance, Dense(matrix), target)
    draws = 400_000
    z = mean + variance.sqrt() * torch.randn(draws, 6, dtype=torch.float64)
    corrected, _ = conditioned_gaussian(z, variance, Dense(matrix), target)
    deviation = covariance.diagonal().sqrt()
    assert ((corrected.mean(0) - found[0]).abs() < 5 * deviation[0] / draws**0.5).all()
    spread = corrected.var(0) / covariance.diagonal()[0] - 1
    assert (spread.abs() < 5 * (2 / draws) ** 0.5).all()


def test_a_coordinate_without_variance_stays():
    matrix, mean, variance, target = setting()
    variance = variance.clone()
    variance[:, 2] = 0.0
    found, covariance = conditioned_gaussian(mean, variance, Dense(matrix), target)
    assert torch.equal(found[:, 2], mean[:, 2])
    assert torch.equal(covariance.diagonal()[:, 2], torch.zeros(3, dtype=torch.float64))
