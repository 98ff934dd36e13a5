"""Gaussians conditioned on constraints, against dense algebra, projections and draws."""

import math

import pytest
import torch

from plumbline.constraints import (
    Ball,
    Bounds,
    DivergenceFree,
    Equations,
    Jointly,
    LinearEquality,
    Polytope,
    Simplex,
    Sphere,
)
from plumbline.constraints._metric_projection import project_in_metric
from plumbline.distributions.truncated_normal import truncated_moments
from plumbline.linalg.spectral import SpectralCovariance

N = 5


def double(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture
def covariance():
    factor = double(N, N, seed=4)
    return SpectralCovariance.of(factor @ factor.mT + 0.2 * torch.eye(N))


def dense(covariance):
    return covariance.matmul(torch.eye(covariance.dimension, dtype=torch.float64))


SHIFT, SCALE = double(N, seed=5), double(N, seed=6).abs() + 0.5
ZERO, ONE = torch.zeros(N).double(), torch.ones(N).double()


def test_linear_equalities_in_the_coordinates_of_a_model(covariance):
    """x = shift + scale z satisfies A x = k, with one k per sample."""
    matrix, target, mean = double(2, N, seed=1), double(3, 2, seed=2), double(3, N, seed=3)
    found = LinearEquality(matrix, target).conditioner(SHIFT, SCALE)(mean, covariance)
    x = SHIFT + SCALE * found.mean
    torch.testing.assert_close(x @ matrix.mT, target)
    rows, v = matrix * SCALE, dense(covariance)
    residual = (SHIFT + SCALE * mean) @ matrix.mT - target
    gain = v @ rows.mT @ torch.linalg.inv(rows @ v @ rows.mT)
    torch.testing.assert_close(found.mean, mean - residual @ gain.mT)
    eye = torch.eye(N, dtype=torch.float64)
    torch.testing.assert_close(found.covariances(eye), v - gain @ rows @ v)


def test_an_isotropic_covariance_projects():
    mean = double(4, N)
    equality = LinearEquality(double(2, N, seed=1), torch.tensor([0.3, -1.0]))
    isotropic = SpectralCovariance.isotropic(torch.tensor(0.7).double(), N)
    found = equality.conditioner(ZERO, ONE)(mean, isotropic)
    torch.testing.assert_close(found.mean, equality.project(mean))


@pytest.mark.parametrize("rank", [0, 6, 48])
def test_zero_divergence_agrees_with_the_matrix(rank):
    """The Fourier transform solves what a pseudo-inverse of the dense divergence solves."""
    shape = (2, 6, 4)
    n = 48
    constraint = DivergenceFree(length=1.0)
    directions = torch.linalg.qr(double(n, n)).Q[:, :rank]
    values = torch.linspace(4, 1, rank, dtype=torch.float64)
    covariance = SpectralCovariance(directions, values, None if rank == n else torch.tensor(0.5).double())
    shift, scale = double(*shape, seed=1), torch.full(shape, 2.0).double()
    mean = double(3, n, seed=2)
    found = constraint.conditioner(shift, scale)(mean, covariance)
    eye = torch.eye(n, dtype=torch.float64)
    rows = 2 * constraint.residual(eye.view(n, *shape)).flatten(1).mT
    v = dense(covariance)
    residual = mean @ rows.mT + constraint.residual(shift[None]).flatten(1)
    gain = v @ rows.mT @ torch.linalg.pinv(rows @ v @ rows.mT, rtol=1e-10)
    torch.testing.assert_close(found.mean, mean - residual @ gain.mT)
    field = shift + scale * found.mean.view(3, *shape)
    assert float(constraint.residual(field).abs().max()) < 1e-10


def test_quadratic_equations_by_their_moments(covariance):
    """Mean and variance of h over 2,000,000 draws, within 6 standard errors (false-alarm rate 4e-9)."""
    torch.manual_seed(1)
    small = covariance.mapped(lambda c: 0.01 * c)
    mean = double(1, N, seed=7)
    square = double(N, N, seed=8)
    square = square + square.mT
    quadratic = Equations(lambda x: ((x @ square.to(x)) * x).sum(1, keepdim=True) - 1)
    found = quadratic.conditioner(ZERO, ONE)(mean, small)
    draws = mean + small.draw(torch.Size((2_000_000, N)))
    h = quadratic.residual(draws)[:, 0]
    expected, variance = float(h.mean()), float(h.var())
    log_density = -(expected**2 / variance + math.log(2 * math.pi * variance)) / 2
    # Errors of the mean (std / 1,414) and of the variance (about sqrt(2) var / 1,414) in the log density.
    slack = 6 * (abs(expected) / math.sqrt(variance) + 1) * 2 / math.sqrt(len(h))
    assert float(found.log_probability) == pytest.approx(log_density, abs=slack)


def test_the_same_surface_has_the_same_mean_and_volume(covariance):
    """|x| - 1 and 3 (|x| - 1): psi is divided by 3, and its product with the volume does not change."""
    mean = double(6, N)
    sphere = Sphere(1.0)
    scaled = Equations(lambda x: 3 * (x.norm(dim=1, keepdim=True) - 1))
    one, three = (c.conditioner(ZERO, ONE)(mean, covariance) for c in (sphere, scaled))
    torch.testing.assert_close(one.mean, three.mean)
    torch.testing.assert_close(
        one.log_probability - three.log_probability, torch.full((6,), math.log(3)).double()
    )
    torch.testing.assert_close(one.log_probability + one.log_volume, three.log_probability + three.log_volume)


def test_linear_functions_given_as_equations_agree_with_the_equality(covariance):
    """Up to a constant in log psi, as the equality has orthonormal rows."""
    matrix, mean = double(2, N, seed=1), double(4, N)
    equality = LinearEquality(matrix, torch.tensor([0.3, -0.2]))
    equations = Equations(lambda x: x @ matrix.mT.to(x) - torch.tensor([0.3, -0.2]).to(x))
    one, other = (c.conditioner(SHIFT, SCALE)(mean, covariance) for c in (equality, equations))
    torch.testing.assert_close(one.mean, other.mean)
    difference = one.log_probability - other.log_probability
    torch.testing.assert_close(difference, difference[:1].expand(4))
    eye = torch.eye(N, dtype=torch.float64)
    torch.testing.assert_close(other.covariances(eye), one.covariances(eye).expand(4, N, N))


def test_half_spaces_after_an_equality(covariance):
    """Draws of the equality by Matheron's rule, then rejection: means within 6 standard errors plus the error
    of expectation propagation (measured: .004 of a standard deviation)."""
    torch.manual_seed(2)
    mean = double(1, N, seed=9)
    total = LinearEquality(torch.ones(1, N), torch.tensor([1.0]))
    half = Polytope(double(2, N, seed=10), torch.tensor([0.5, 1.0]))
    found = Jointly([total, half]).conditioner(ZERO, ONE)(mean, covariance)
    v = dense(covariance)
    draws = mean + covariance.draw(torch.Size((1_000_000, N)))
    draws = draws + (1 - draws.sum(1, keepdim=True)) / v.sum() * v.sum(1)
    kept = (draws @ half.matrix.mT <= half.limit).all(1)
    chosen = draws[kept]
    assert float((found.mean - chosen.mean(0)).abs().div(chosen.std(0)).max()) < 0.03
    # The equality has one orthonormal row, the sum over sqrt(N).
    residual, variance = (float(mean.sum()) - 1) / math.sqrt(N), float(v.sum()) / N
    log_density = -(residual**2 / variance + math.log(2 * math.pi * variance)) / 2
    log_kept = math.log(float(kept.double().mean()))
    assert float(found.log_probability) == pytest.approx(log_density + log_kept, abs=0.03)


def test_bounds_truncate_independent_coordinates_exactly():
    mean, lower = double(3, N), -0.2
    isotropic = SpectralCovariance.isotropic(torch.tensor(0.6).double(), N)
    bounds = Bounds(lower=lower)
    found = bounds.conditioner(SHIFT, SCALE)(mean, isotropic)
    lower_of_each, none = torch.full_like(mean, lower), torch.full_like(mean, torch.inf)
    variance = (0.6 * SCALE**2).expand(3, N)
    wanted, _ = truncated_moments(SHIFT + SCALE * mean, variance, lower_of_each, none)
    torch.testing.assert_close(SHIFT + SCALE * found.mean, wanted)


def test_bounds_of_each_sample(covariance):
    lower = double(3, N, seed=11)
    bounds = Bounds(lower="floor").bind({"floor": lower})
    mean = double(3, N)
    together = bounds.conditioner(SHIFT, SCALE)(mean, covariance).mean
    for i in range(3):
        alone = Bounds(lower=lower[i]).conditioner(SHIFT, SCALE)(mean[i : i + 1], covariance).mean
        torch.testing.assert_close(together[i : i + 1], alone)
    assert bool((SHIFT + SCALE * together >= lower - 1e-9).all())


def test_the_simplex_is_a_sum_and_bounds(covariance):
    mean = double(4, N)
    found = Simplex().conditioner(SHIFT, SCALE)(mean, covariance)
    other = Jointly([LinearEquality(torch.ones(1, N), torch.ones(1)), Bounds(lower=0.0)])
    torch.testing.assert_close(found.mean, other.conditioner(SHIFT, SCALE)(mean, covariance).mean)
    torch.testing.assert_close((SHIFT + SCALE * found.mean).sum(1), torch.ones(4).double())


def test_what_cannot_be_conditioned_on_is_refused(covariance):
    with pytest.raises(TypeError, match="cannot be conditioned on Ball"):
        Ball(1.0).conditioner(ZERO, ONE)
    with pytest.raises(TypeError, match="on Simplex jointly with others: give its equalities"):
        Jointly([Simplex(), Bounds(lower=0.0)]).conditioner(ZERO, ONE)
    many = Polytope(double(300, N), torch.full((300,), 10.0))
    with pytest.raises(ValueError, match="at most 256 inequalities together, found 300"):
        many.conditioner(ZERO, ONE)
    with pytest.raises(ValueError, match="set `scaling: global`"):
        DivergenceFree(length=1.0).conditioner(torch.zeros(2, 4, 4), double(2, 4, 4).abs())


def in_metric(constraint, z, covariance):
    return project_in_metric(constraint, z, covariance, shift=SHIFT, scale=SCALE)


def test_a_linear_equality_in_the_metric_of_the_data(covariance):
    """The gradient of the distance, C^{-1} (z' - z), is a combination of the rows."""
    matrix, z = double(2, N, seed=1), double(4, N)
    equality = LinearEquality(matrix, torch.tensor([0.3, -1.0]))
    found = in_metric(equality, z, covariance)
    assert float(equality.violation(SHIFT + SCALE * found).max()) < 1e-12
    gradient, rows = covariance.inverse(found - z), matrix * SCALE
    multipliers = torch.linalg.lstsq(rows.mT, gradient.mT).solution
    torch.testing.assert_close(multipliers.mT @ rows, gradient)


@pytest.mark.parametrize(
    "constraint",
    [
        Sphere(2.0),
        Polytope(double(3, N, seed=2), torch.tensor([0.1, -0.2, 0.5])),
        Simplex(3.0),
        Bounds(lower=-0.5, upper=0.7),
        Equations(lambda x: torch.cat([x[:, :1] * x[:, 1:2] - 0.5, x[:, 2:3] ** 2 + x[:, 3:4] - 1], dim=1)),
    ],
    ids=lambda c: type(c).__name__,
)
def test_no_feasible_point_nearby_is_nearer_in_the_metric_of_the_data(constraint, covariance):
    """2,000 feasible points around each result are at least as far from z, up to rounding."""
    torch.manual_seed(0)
    z = double(3, N)
    found = in_metric(constraint, z, covariance)
    assert float(constraint.violation(SHIFT + SCALE * found).max()) < 1e-8

    def distance(points, start):
        moved = points - start
        return (moved * covariance.inverse(moved)).sum(1)

    for i in range(3):
        nearby = SHIFT + SCALE * (found[i] + 0.05 * torch.randn(2000, N, dtype=torch.float64))
        others = (constraint.project(nearby) - SHIFT) / SCALE
        here = distance(found[i : i + 1], z[i : i + 1])
        assert float(distance(others, z[i]).min()) > float(here) - 1e-7


def test_an_isotropic_metric_is_euclidean():
    isotropic = SpectralCovariance.isotropic(torch.tensor(0.7).double(), N)
    for constraint in (Sphere(2.0), Simplex(3.0)):
        z = double(3, N)
        found = project_in_metric(constraint, z, isotropic, shift=ZERO, scale=ONE)
        torch.testing.assert_close(found, constraint.project(z), rtol=1e-6, atol=1e-6)
