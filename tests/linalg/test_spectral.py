"""Covariances by their leading eigenvectors, against dense matrices."""

import pytest
import torch

from plumbline.linalg.conditioning import conditioned_covariance
from plumbline.linalg.maps import DenseMap, GroupSum
from plumbline.linalg.spectral import SpectralCovariance, covariance_of

N = 12


def double(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def made(rank):
    """C of `rank` eigenvectors in 12 coordinates, and the same as a matrix."""
    directions = torch.linalg.qr(double(N, N)).Q[:, :rank]
    values = torch.linspace(3.0, 0.5, rank, dtype=torch.float64)
    rest = None if rank == N else torch.tensor(0.3, dtype=torch.float64)
    dense = (directions * values) @ directions.mT
    if rest is not None:
        dense = dense + rest * (torch.eye(N) - directions @ directions.mT)
    return SpectralCovariance(directions, values, rest), dense


@pytest.mark.parametrize("rank", [0, 4, N])
def test_it_agrees_with_the_matrix(rank):
    covariance, dense = made(rank)
    x = double(5, N, seed=1)
    torch.testing.assert_close(covariance.matmul(x), x @ dense)
    torch.testing.assert_close(covariance.inverse(x), x @ torch.linalg.inv(dense))
    torch.testing.assert_close(covariance.root().matmul(covariance.root().matmul(x)), x @ dense)
    torch.testing.assert_close(covariance.diagonal(), dense.diagonal())
    torch.testing.assert_close(covariance.logdet(), torch.logdet(dense))


@pytest.mark.parametrize("rank", [0, 4, N])
@pytest.mark.parametrize("structured", [False, True])
def test_conditioning_agrees_with_the_matrix(rank, structured):
    covariance, dense = made(rank)
    rows = GroupSum(torch.arange(N) % 3) if structured else DenseMap(double(3, N, seed=2))
    matrix = rows.dense().double()
    gram = matrix @ dense @ matrix.mT
    found = conditioned_covariance(covariance, rows)
    torch.testing.assert_close(found.gram.logdet(), torch.logdet(gram))
    wanted = dense - dense @ matrix.mT @ torch.linalg.inv(gram) @ matrix @ dense
    torch.testing.assert_close(found.dense(), wanted)
    torch.testing.assert_close(found.diagonal(), wanted.diagonal())
    trace = torch.trace(torch.linalg.inv(dense) @ wanted)
    torch.testing.assert_close(covariance.trace_of_inverse_times(found), trace)


@pytest.mark.parametrize("rank", [0, 4, N])
def test_the_posterior_is_that_of_two_gaussians(rank):
    covariance, dense = made(rank)
    alpha, sigma = (torch.tensor(value, dtype=torch.float64) for value in (0.7, 0.4))
    wanted = torch.linalg.inv(torch.linalg.inv(dense) + alpha**2 / sigma**2 * torch.eye(N))
    x = torch.eye(N, dtype=torch.float64)
    torch.testing.assert_close(covariance.posterior(alpha, sigma).matmul(x), wanted)


def test_draws_have_the_covariance():
    """The largest of 78 entries of the covariance of 200,000 draws deviates by under 6 standard errors.

    For normal entries, the false-alarm rate is below 1e-6.
    """
    torch.manual_seed(0)
    covariance, dense = made(4)
    x = covariance.draw(torch.Size((200_000, N)))
    error = (torch.cov(x.mT) - dense).abs()
    spread = ((dense.square() + torch.outer(dense.diagonal(), dense.diagonal())) / 200_000).sqrt()
    assert float((error / spread).max()) < 6


def test_all_eigenvectors_of_data_in_blocks():
    """A large offset costs digits in single precision, not here."""
    x = double(500, N) @ double(N, N, seed=1) + 1e4
    found = covariance_of(x.split(77), dimension=N, rank=None)
    torch.testing.assert_close(found.matmul(torch.eye(N).double()), torch.cov(x.mT, correction=0))


def test_leading_eigenvectors_of_data_in_blocks():
    """Five directions carry nearly everything; blocks do not change the result beyond rounding."""
    n, rank = 80, 5
    scales = torch.cat([torch.linspace(9, 5, rank), torch.full((n - rank,), 0.1)]).double()
    x = double(4000, n) * scales @ torch.linalg.qr(double(n, n, seed=3)).Q + 7.0
    found = covariance_of(x.split(300), dimension=n, rank=rank)
    exact = torch.linalg.eigh(torch.cov(x.mT, correction=0))
    torch.testing.assert_close(found.values, exact.eigenvalues.flip(0)[:rank], rtol=3e-3, atol=0)
    angles = torch.linalg.svdvals(found.directions.mT @ exact.eigenvectors[:, -rank:])
    assert float(angles.min()) > 0.999
    torch.testing.assert_close(found.diagonal().sum(), exact.eigenvalues.sum())
    whole = covariance_of([x], dimension=n, rank=rank)
    torch.testing.assert_close(whole.values, found.values)


def test_directions_without_variance_keep_a_small_one():
    x = double(100, N)
    x[:, 0] = 2.0
    found = covariance_of([x], dimension=N, rank=None)
    assert 0 < float(found.values.min()) < 1e-5 and bool(torch.isfinite(found.inverse(x)).all())


def test_no_samples_are_refused():
    for rank in (None, 2):
        with pytest.raises(ValueError, match="the covariance of no samples"):
            covariance_of([], dimension=40, rank=rank)
