"""ConstrainedGaussian compared with null-space coordinates, quadrature, Monte Carlo and finite differences.

Statistical tests fix their seed; each states the size of its z-test, so that its false-alarm rate is known.
"""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats
from torch.distributions import kl_divergence

from plumbline.constraints import InfeasibleConstraintError
from plumbline.constraints._linear_equality import LinearEquality
from plumbline.distributions.constrained_gaussian import ConstrainedGaussian
from plumbline.linalg.covariance import DenseCovariance, Diagonal, LowRankPlusDiagonal, ScaledIdentity
from plumbline.linalg.gram import DegenerateGaussianError
from plumbline.linalg.maps import GroupSum

DOUBLE = torch.float64
STRUCTURES = ["diagonal", "scaled", "low_rank", "dense"]
# Two-sided z-tests at 5 standard errors: 6e-7 per value, under 1e-4 for the hundred values of a test.
STANDARD_ERRORS = 5.0


def covariance(structure: str, n: int, batch: tuple[int, ...], seed: int = 1):
    g = torch.Generator().manual_seed(seed)
    variance = torch.rand(*batch, n, generator=g, dtype=DOUBLE) + 0.3
    if structure == "diagonal":
        return Diagonal(variance)
    if structure == "scaled":
        return ScaledIdentity(variance[..., 0], n)
    factor = torch.randn(*batch, n, 2, generator=g, dtype=DOUBLE)
    low_rank = LowRankPlusDiagonal(factor, variance)
    return low_rank if structure == "low_rank" else DenseCovariance(as_matrix(low_rank, n))


def as_matrix(cov, n: int) -> torch.Tensor:
    columns = [cov.matmul(e) for e in torch.eye(n, dtype=DOUBLE)]
    return torch.stack(columns, -1)


def equality(name: str, n: int, batch: tuple[int, ...] = (), seed: int = 2) -> LinearEquality:
    g = torch.Generator().manual_seed(seed)
    if name == "sum":
        return LinearEquality(GroupSum(torch.zeros(n, dtype=torch.long)), torch.full((1,), 0.7, dtype=DOUBLE))
    if name == "groups":
        weights = torch.rand(n, generator=g, dtype=DOUBLE) + 0.5
        target = torch.randn(*batch, 2, generator=g, dtype=DOUBLE)
        return LinearEquality(GroupSum(torch.arange(n) % 2, weights), target)
    matrix = torch.randn(3, n, generator=g, dtype=DOUBLE)
    matrix = torch.cat([matrix, matrix[:1] + matrix[1:2]])  # a redundant row
    return LinearEquality(matrix, torch.randn(*batch, n, generator=g, dtype=DOUBLE) @ matrix.mT)


def gaussian(structure: str, rows: str, n: int = 6, batch: tuple[int, ...] = (3,)) -> ConstrainedGaussian:
    g = torch.Generator().manual_seed(0)
    mean = torch.randn(*batch, n, generator=g, dtype=DOUBLE)
    return ConstrainedGaussian(mean, covariance(structure, n, batch), equality(rows, n, batch))


def null_space_distribution(q: ConstrainedGaussian, i: int):
    """Mean, covariance and an orthonormal basis of the feasible directions, by dense linear algebra."""
    n = q.event_shape[0]
    matrix = q.constraint.matrix.numpy()
    target = (q.loc @ q.constraint.matrix.mT - q.constraint.independent_residual(q.loc))[i].numpy()
    mean, cov = q.loc[i].numpy(), as_matrix(q.covariance, n)[i].numpy()
    point, *_ = np.linalg.lstsq(matrix, target, rcond=None)
    basis = np.linalg.svd(matrix)[2][len(matrix) :].T
    precision = basis.T @ np.linalg.inv(cov) @ basis
    centre = np.linalg.solve(precision, basis.T @ np.linalg.inv(cov) @ (mean - point))
    return point + basis @ centre, np.linalg.inv(precision), basis


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("rows", ["sum", "groups", "dense"])
def test_moments_density_and_entropy_are_those_in_null_space_coordinates(structure, rows):
    q = gaussian(structure, rows)
    y = q.sample()
    for i in range(3):
        mean, reduced, basis = null_space_distribution(q, i)
        np.testing.assert_allclose(q.mean[i], mean, atol=1e-12)
        np.testing.assert_allclose(q.covariance_matrix[i], basis @ reduced @ basis.T, atol=1e-12)
        np.testing.assert_allclose(q.variance[i], np.diag(basis @ reduced @ basis.T), atol=1e-12)
        distribution = stats.multivariate_normal(np.zeros(basis.shape[1]), reduced)
        np.testing.assert_allclose(
            q.log_prob(y)[i], distribution.logpdf(basis.T @ (y[i].numpy() - mean)), atol=1e-10
        )
        np.testing.assert_allclose(q.entropy()[i], distribution.entropy(), atol=1e-10)


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("rows", ["sum", "dense"])
def test_samples_have_the_stated_moments(structure, rows):
    """Mean and covariance of 40,000 samples; each entry is a z-test at 5 standard errors."""
    q = gaussian(structure, rows, n=5, batch=())
    draws = 40_000
    z = q.sample((draws,))
    cov, variance = q.covariance_matrix, q.variance
    error = (z.mean(0) - q.mean).abs() / (variance / draws).sqrt().clamp(min=1e-12)
    assert error.max() < STANDARD_ERRORS
    centred = z - q.mean
    found = centred.mT @ centred / draws
    spread = ((variance[:, None] * variance + cov**2) / draws).sqrt().clamp(min=1e-12)
    assert ((found - cov).abs() / spread).max() < STANDARD_ERRORS


@pytest.mark.parametrize("structure", STRUCTURES)
def test_expected_losses_are_those_of_quadrature(structure):
    q = gaussian(structure, "dense")
    target = torch.randn(3, 6, dtype=DOUBLE)
    l1, l2 = q.expected_l1(target), q.expected_l2(target)
    for i in range(6):
        marginal = stats.norm(float(q.mean[0, i]), float(q.variance[0, i]) ** 0.5)
        b = float(target[0, i])
        limits = (marginal.ppf(1e-15), marginal.isf(1e-15))
        absolute = integrate.quad(
            lambda z, b, q: abs(z - b) * q.pdf(z), *limits, args=(b, marginal), points=[b], limit=200
        )[0]
        squared = integrate.quad(
            lambda z, b, q: (z - b) ** 2 * q.pdf(z), *limits, args=(b, marginal), limit=200
        )[0]
        assert float(l1[0, i]) == pytest.approx(absolute, rel=1e-7)
        assert float(l2[0, i]) == pytest.approx(squared, rel=1e-7)


@pytest.mark.parametrize("rows", ["sum", "groups", "dense"])
def test_gradients_are_those_of_finite_differences(rows):
    constraint = equality(rows, 6, (2,))
    target = torch.randn(2, 6, dtype=DOUBLE)
    feasible = constraint.project(torch.randn(2, 6, dtype=DOUBLE))

    def numbers(mean, log_variance, factor):
        diagonal = ConstrainedGaussian(mean, Diagonal(log_variance.exp()), constraint)
        low_rank = ConstrainedGaussian(mean, LowRankPlusDiagonal(factor, log_variance.exp()), constraint)
        found = [kl_divergence(diagonal, low_rank), kl_divergence(low_rank, diagonal)]
        for q in (diagonal, low_rank):
            found += [q.mean, q.variance, q.expected_l1(target), q.expected_l2(target)]
            found += [q.log_prob(feasible), q.entropy()]
        return tuple(found)

    inputs = [
        torch.randn(2, 6, dtype=DOUBLE),
        torch.randn(2, 6, dtype=DOUBLE),
        torch.randn(2, 6, 2, dtype=DOUBLE),
    ]
    assert torch.autograd.gradcheck(numbers, [x.requires_grad_() for x in inputs])


def test_gradients_of_samples_are_those_of_finite_differences():
    constraint = equality("dense", 5)

    def draw(mean, variance):
        torch.manual_seed(3)
        return ConstrainedGaussian(mean, variance, constraint).rsample((4,))

    inputs = [torch.randn(5, dtype=DOUBLE), torch.rand(5, dtype=DOUBLE) + 0.2]
    assert torch.autograd.gradcheck(draw, [x.requires_grad_() for x in inputs])


@pytest.mark.parametrize("q_structure", STRUCTURES)
@pytest.mark.parametrize("p_structure", STRUCTURES)
@pytest.mark.parametrize("rows", ["sum", "groups", "dense"])
def test_divergence_is_that_in_null_space_coordinates(q_structure, p_structure, rows):
    g = torch.Generator().manual_seed(5)
    constraint = equality(rows, 6, (3,))
    q = ConstrainedGaussian(
        torch.randn(3, 6, generator=g, dtype=DOUBLE), covariance(q_structure, 6, (3,), 8), constraint
    )
    p = ConstrainedGaussian(
        torch.randn(3, 6, generator=g, dtype=DOUBLE), covariance(p_structure, 6, (3,), 9), constraint
    )
    found = kl_divergence(q, p)
    for i in range(3):
        q_mean, q_cov, basis = null_space_distribution(q, i)
        p_mean, p_cov, _ = null_space_distribution(p, i)
        reduced_q, reduced_p = (
            torch.distributions.MultivariateNormal(torch.as_tensor(basis.T @ m), torch.as_tensor(c))
            for m, c in ((q_mean, q_cov), (p_mean, p_cov))
        )
        assert float(found[i]) == pytest.approx(float(kl_divergence(reduced_q, reduced_p)), abs=1e-10)
    assert kl_divergence(q, q).abs().max() < 1e-12


@settings(max_examples=60)
@given(
    st.integers(1, 5).flatmap(lambda m: st.tuples(st.just(m), st.integers(m + 1, 30))),
    st.sampled_from([torch.float32, DOUBLE]),
    st.integers(0, 10**6),
    st.floats(-6, 6),
)
def test_samples_and_means_are_feasible_to_ten_eps(size, dtype, seed, log_spread):
    m, n = size
    g = torch.Generator().manual_seed(seed)
    constraint = LinearEquality(torch.randn(m, n, generator=g), torch.randn(4, m, generator=g))
    variance = torch.exp(log_spread * torch.rand(4, n, generator=g)).to(dtype)
    q = ConstrainedGaussian(torch.randn(4, n, generator=g).to(dtype), Diagonal(variance), constraint)
    eps = torch.finfo(dtype).eps
    assert q.mean.dtype == q.variance.dtype == q.sample().dtype == dtype
    assert (constraint.violation(q.mean) <= 10 * eps).all()
    for drawn in (q.sample((5,)), q.projected((5,))):
        assert all((constraint.violation(z) <= 10 * eps).all() for z in drawn)


@pytest.mark.parametrize("n", [584, 100_000])
def test_long_sums_are_feasible_in_single_precision(n):
    constraint = LinearEquality(GroupSum(torch.zeros(n, dtype=torch.long)), torch.zeros(1))
    q = ConstrainedGaussian(torch.randn(2, n), Diagonal(torch.rand(2, n) + 0.1), constraint)
    assert (constraint.violation(q.sample()) <= 10 * torch.finfo(torch.float32).eps).all()


def test_with_equal_variances_conditioning_is_euclidean_projection():
    constraint = equality("dense", 6)
    q = ConstrainedGaussian(torch.randn(6, dtype=DOUBLE), torch.tensor(2.3, dtype=DOUBLE), constraint)
    free, feasible = q.draw_pair((7,))
    torch.testing.assert_close(feasible, constraint.project(free), rtol=0, atol=1e-12)
    unequal = ConstrainedGaussian(q.loc, Diagonal(torch.arange(1.0, 7.0, dtype=DOUBLE)), constraint)
    free, feasible = unequal.draw_pair((7,))
    assert (feasible - constraint.project(free)).abs().max() > 1e-2


def test_one_free_dimension():
    """With n - 1 independent rows, all samples lie on a line and the density is one-dimensional."""
    matrix = torch.tensor([[1.0, 1.0, 0.0], [0.0, 1.0, -1.0]], dtype=DOUBLE)
    constraint = LinearEquality(matrix, torch.tensor([1.0, 0.0], dtype=DOUBLE))
    q = ConstrainedGaussian(torch.zeros(3, dtype=DOUBLE), torch.ones(3, dtype=DOUBLE), constraint)
    direction = torch.tensor([1.0, -1.0, -1.0], dtype=DOUBLE) / math.sqrt(3)
    z = q.sample((50,))
    steps = (z - q.mean) @ direction
    torch.testing.assert_close(z, q.mean + steps[:, None] * direction)
    torch.testing.assert_close(q.log_prob(z), torch.distributions.Normal(0.0, 1.0).log_prob(steps))
    torch.testing.assert_close(q.variance, direction.square())


def test_no_free_dimension_leaves_the_one_feasible_point():
    constraint = LinearEquality(torch.eye(3, dtype=DOUBLE), torch.tensor([1.0, 2.0, 3.0], dtype=DOUBLE))
    q = ConstrainedGaussian(torch.zeros(3, dtype=DOUBLE), torch.ones(3, dtype=DOUBLE), constraint)
    torch.testing.assert_close(q.sample((4,)), constraint.target.expand(4, 3))
    assert q.variance.abs().max() < 1e-12
    torch.testing.assert_close(q.expected_l1(torch.zeros(3, dtype=DOUBLE)), constraint.target)
    assert abs(float(q.log_prob(q.mean))) < 1e-12


@pytest.mark.parametrize("rows", ["sum", "dense"])
def test_coordinates_of_zero_variance_stay(rows):
    variance = torch.tensor([0.0, 1.0, 2.0, 1.0, 0.0, 3.0], dtype=DOUBLE, requires_grad=True)
    mean = torch.randn(6, dtype=DOUBLE, requires_grad=True)
    q = ConstrainedGaussian(mean, variance, equality(rows, 6))
    z = q.rsample((5,))
    torch.testing.assert_close(z[:, [0, 4]], mean[[0, 4]].expand(5, 2))
    assert (q.variance[[0, 4]] == 0).all()
    total = z.sum() + q.expected_l1(torch.zeros(6, dtype=DOUBLE)).sum()
    for gradient in torch.autograd.grad(total, (mean, variance)):
        assert torch.isfinite(gradient).all()
    with pytest.raises(DegenerateGaussianError, match="zero variance"):
        q.log_prob(q.sample())


@pytest.mark.parametrize("rows", ["sum", "dense"])
def test_no_freedom_to_meet_the_equality_is_named(rows):
    with pytest.raises(DegenerateGaussianError):
        ConstrainedGaussian(torch.zeros(6, dtype=DOUBLE), torch.zeros(6, dtype=DOUBLE), equality(rows, 6))


def test_redundant_rows_change_nothing_and_contradicting_ones_are_refused():
    one = LinearEquality(torch.ones(1, 4), torch.tensor([2.0]))
    twice = LinearEquality(torch.tensor([[1.0] * 4, [3.0] * 4]), torch.tensor([2.0, 6.0]))
    mean, variance = torch.randn(4, dtype=DOUBLE), torch.rand(4, dtype=DOUBLE) + 0.1
    a, b = ConstrainedGaussian(mean, variance, one), ConstrainedGaussian(mean, variance, twice)
    torch.testing.assert_close(a.mean, b.mean)
    torch.testing.assert_close(a.log_prob(a.mean), b.log_prob(b.mean))
    with pytest.raises(InfeasibleConstraintError, match="contradicts"):
        LinearEquality(torch.tensor([[1.0] * 4, [3.0] * 4]), torch.tensor([2.0, 5.0]))


def test_an_infeasible_value_has_no_density():
    q = gaussian("diagonal", "sum")
    with pytest.raises(ValueError, match="misses the equality"):
        q.log_prob(q.mean + 1.0)


@pytest.mark.rejects
def test_an_unclear_covariance_is_refused():
    with pytest.raises(ValueError, match="Diagonal, ScaledIdentity"):
        ConstrainedGaussian(torch.zeros(4, 3), torch.eye(3), equality("sum", 3))


def test_a_million_coordinates_need_no_matrix():
    n = 1_000_000
    constraint = LinearEquality(GroupSum(torch.zeros(n, dtype=torch.long)), torch.ones(1))
    factor = torch.randn(n, 2, dtype=DOUBLE)
    q = ConstrainedGaussian(
        torch.randn(n, dtype=DOUBLE), LowRankPlusDiagonal(factor, torch.ones(n, dtype=DOUBLE)), constraint
    )
    z = q.sample()
    assert torch.isfinite(q.log_prob(z)) and torch.isfinite(q.variance).all()
