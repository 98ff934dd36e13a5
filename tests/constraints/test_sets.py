"""Bounds, polytopes, simplices, balls and spheres against cvxpy and closed forms; truncated moments."""

import logging
import math

import cvxpy
import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from plumbline.constraints import Ball, Bounds, InfeasibleConstraintError, Polytope, Simplex, Sphere
from plumbline.constraints.ball import BallSpec
from plumbline.constraints.bounds import BoundsSpec
from plumbline.constraints.polytope import PolytopeSpec
from plumbline.constraints.simplex import SimplexSpec
from plumbline.constraints.sphere import SphereSpec
from plumbline.distributions.truncated_normal import truncated_moments

FLOAT = torch.float64
EXACT = {"solver": "CLARABEL", "tol_gap_abs": 1e-12, "tol_gap_rel": 1e-12, "tol_feas": 1e-12}


def nearest_by_cvxpy(x, constraints):
    """The nearest points (B, n) from a conic solver, one sample at a time."""
    found = []
    for point in x.double().numpy():
        z = cvxpy.Variable(len(point))
        cvxpy.Problem(cvxpy.Minimize(cvxpy.sum_squares(z - point)), constraints(z)).solve(**EXACT)
        found.append(z.value)
    return torch.as_tensor(np.array(found))


SETS = {
    "bounds": Bounds(-0.3, torch.tensor([0.1, 0.2, 0.5, math.inf])),
    "polytope": Polytope(
        torch.tensor([[1.0, 1, 0, 0], [0, -1, 2, 0], [1, 0, 0, -1]]), torch.tensor([0.2, 0.1, 0.3])
    ),
    "simplex": Simplex(2.0),
    "ball": Ball(0.5, center=0.1),
    "sphere": Sphere(0.5, center=0.1),
}


@settings(max_examples=30)
@given(
    st.sampled_from(sorted(SETS)),
    st.sampled_from([torch.float32, FLOAT]),
    st.integers(0, 5),
    st.integers(0, 10**6),
)
def test_projections_are_feasible_idempotent_and_of_the_dtype(name, dtype, batch, seed):
    x = torch.randn(batch, 4, generator=torch.Generator().manual_seed(seed), dtype=FLOAT).to(dtype)
    constraint, eps = SETS[name], torch.finfo(dtype).eps
    projected = constraint.project(x)
    assert projected.dtype == dtype and projected.shape == x.shape
    assert constraint.residual(x).dtype == dtype and constraint.violation(x).shape == (batch,)
    assert constraint.distance(x).shape == (batch,)
    assert (constraint.violation(projected) <= max(20 * eps, 1e-11)).all()
    again = constraint.project(projected)
    torch.testing.assert_close(again, projected, rtol=20 * eps, atol=max(20 * eps, 1e-10))


@pytest.mark.parametrize("name", sorted(SETS))
def test_violations_and_distances_are_differentiable(name):
    x = (3 * torch.randn(6, 4, dtype=FLOAT)).requires_grad_()
    constraint = SETS[name]
    total = constraint.violation(x).sum() + constraint.distance(x).sum()
    (gradient,) = torch.autograd.grad(total, x)
    assert torch.isfinite(gradient).all() and gradient.abs().sum() > 0


@settings(max_examples=12)
@given(st.integers(1, 12), st.integers(1, 8), st.integers(0, 10**6))
def test_polytopes_are_met_where_cvxpy_says(m, n, seed):
    g = torch.Generator().manual_seed(seed)
    matrix = torch.randn(m, n, generator=g, dtype=FLOAT)
    limit = torch.rand(m, generator=g, dtype=FLOAT)
    x = 3 * torch.randn(4, n, generator=g, dtype=FLOAT)
    report = Polytope(matrix, limit).project_with_report(x)
    assert report.converged.all()
    wanted = nearest_by_cvxpy(x, lambda z: [matrix.numpy() @ z <= limit.numpy()])
    torch.testing.assert_close(report.points, wanted, rtol=1e-8, atol=1e-8)


def test_rows_that_follow_from_others_and_equalities_as_two_rows_are_met():
    matrix = torch.tensor([[1.0, 1, 1], [1, 1, 1], [-1, -1, -1], [1, 0, 0], [0, 0, 0]], dtype=FLOAT)
    limit = torch.tensor([1.0, 1.0, -1.0, 0.2, 0.0], dtype=FLOAT)
    x = torch.randn(10, 3, dtype=FLOAT)
    wanted = nearest_by_cvxpy(x, lambda z: [cvxpy.sum(z) == 1, z[0] <= 0.2])
    torch.testing.assert_close(Polytope(matrix, limit).project(x), wanted, rtol=1e-8, atol=1e-8)


def test_many_rows_and_limits_of_each_sample():
    matrix, limits = torch.randn(150, 20, dtype=FLOAT), torch.rand(6, 150, dtype=FLOAT)
    x = 3 * torch.randn(6, 20, dtype=FLOAT)
    constraint = Polytope(matrix, None, limit_variable="capacity").bind({"capacity": limits})
    wanted = torch.cat(
        [
            nearest_by_cvxpy(x[i : i + 1], lambda z, i=i: [matrix.numpy() @ z <= limits[i].numpy()])
            for i in range(6)
        ]
    )
    torch.testing.assert_close(constraint.project(x), wanted, rtol=1e-7, atol=1e-7)


def test_polytopes_without_a_point_are_refused_or_reported(caplog):
    matrix = torch.tensor([[1.0], [-1.0]])
    with pytest.raises(InfeasibleConstraintError, match="no point satisfies A x <= b"):
        Polytope(matrix, torch.tensor([0.0, -1.0]))
    some = Polytope(matrix, torch.tensor([[0.0, -1.0], [1.0, 0.0]]))
    with caplog.at_level(logging.WARNING, "plumbline.constraints"):
        report = some.project_with_report(torch.tensor([[3.0], [3.0]]))
        some.project(torch.tensor([[3.0], [3.0]]))
    assert report.converged.tolist() == [False, True]
    assert "1 of 2 samples did not converge" in caplog.text


@settings(max_examples=30)
@given(st.integers(1, 30), st.floats(0.1, 10), st.integers(0, 10**6))
def test_the_simplex_is_met_as_by_a_search_for_its_threshold(n, total, seed):
    x = torch.randn(5, n, generator=torch.Generator().manual_seed(seed), dtype=FLOAT)
    low, high = x.amin(1, keepdim=True) - total, x.amax(1, keepdim=True)
    for _ in range(200):
        middle = (low + high) / 2
        above = (x - middle).clamp(min=0).sum(1, keepdim=True) > total
        low, high = torch.where(above, middle, low), torch.where(above, high, middle)
    torch.testing.assert_close(Simplex(total).project(x), (x - low).clamp(min=0), rtol=1e-10, atol=1e-10)


def test_simplices_along_axes_and_of_each_sample():
    x = torch.randn(3, 4, 5, 2, dtype=FLOAT)
    totals = torch.tensor([1.0, 2.0, 3.0])
    found = Simplex("budget", axes=(2, 0)).bind({"budget": totals}).project(x)
    assert found.shape == x.shape and (found >= 0).all()
    torch.testing.assert_close(found.sum((1, 3)), totals[:, None].double().expand(3, 5))
    flat = x[:, :, 0].flatten(1)
    torch.testing.assert_close(found[1, :, 0].flatten(), Simplex(2.0).project(flat)[1])


def test_balls_and_spheres_in_closed_form(caplog):
    x = torch.tensor([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]])
    torch.testing.assert_close(Ball(1.0).project(x), torch.tensor([[0.6, 0.8], [0.3, 0.4], [0.0, 0.0]]))
    torch.testing.assert_close(Ball(1.0).residual(x), torch.tensor([[4.0], [0.0], [0.0]]))
    torch.testing.assert_close(Sphere(1.0).residual(x), torch.tensor([[4.0], [-0.5], [-1.0]]))
    with caplog.at_level(logging.WARNING, "plumbline.constraints"):
        moved = Sphere(1.0).project(x)
    torch.testing.assert_close(moved, torch.tensor([[0.6, 0.8], [0.6, 0.8], [1.0, 0.0]]))
    assert "1 of 3 samples lie at the center" in caplog.text
    radii = {"energy": torch.tensor([1.0, 2.0, 3.0])}
    torch.testing.assert_close(Sphere("energy").bind(radii).project(x).norm(dim=1), radii["energy"])


def by_quadrature(mean, variance, lower, upper):
    """Moments by adaptive quadrature of the density relative to its largest value."""
    std = math.sqrt(variance)
    mode = min(max(mean, lower), upper)
    reach = std * min(9.0, 40 / max(abs(mode - mean) / std, 1.0))
    ends = max(lower, mode - reach), min(upper, mode + reach)

    def density(x):
        return math.exp(-(x - mode) * (x + mode - 2 * mean) / (2 * variance))

    def integral(of):
        return quad(of, *ends, epsabs=0, epsrel=1e-12, limit=400, points=[mode])[0]

    mass = integral(density)
    moved = integral(lambda x: (x - mode) * density(x)) / mass
    spread = integral(lambda x: (x - mode - moved) ** 2 * density(x)) / mass
    return mode + moved, spread


@pytest.mark.parametrize(
    ("mean", "variance", "lower", "upper"),
    [
        (0.0, 1.0, -1.0, 2.0),
        (0.0, 1.0, 0.0, math.inf),
        (-5.0, 1.0, 0.0, math.inf),
        (-38.0, 1.0, 0.0, math.inf),
        (-1e4, 1.0, 0.0, math.inf),
        (-7.0, 2.0, -math.inf, -20.0),
        (0.0, 1.0, 3.0, 3.001),
        (0.0, 1.0, -8.0, 8.0),
        (0.3, 1.0, -1e-3, 1e-3),
        (40.0, 1.0, -10.0, -9.9),
        (0.0, 4.0, -math.inf, math.inf),
        (1.0, 1e-8, 0.0, 2.0),
    ],
)
def test_truncated_moments_are_those_of_quadrature(mean, variance, lower, upper):
    found = truncated_moments(*(torch.tensor([v], dtype=FLOAT) for v in (mean, variance, lower, upper)))
    wanted = by_quadrature(mean, variance, lower, upper)
    assert float(found[0]) == pytest.approx(wanted[0], rel=1e-11, abs=1e-11 * math.sqrt(wanted[1]))
    assert float(found[1]) == pytest.approx(wanted[1], rel=1e-9)


@settings(max_examples=50)
@given(st.floats(-1e8, 1e8), st.floats(1e-12, 1e12), st.floats(-10, 10), st.floats(0, 10))
def test_truncated_moments_stay_within_the_bounds(mean, variance, lower, width):
    bounds = [torch.tensor([v], dtype=FLOAT) for v in (lower, lower + width)]
    given_ = [torch.tensor([v], dtype=FLOAT) for v in (mean, variance)]
    found, spread = truncated_moments(*given_, *bounds)
    assert bounds[0] <= found <= bounds[1]
    assert 0 <= spread <= width**2 / 4 * (1 + 1e-9) + 1e-300


@pytest.mark.rejects
@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: Bounds(), "bounds need `lower`, `upper` or both"),
        (lambda: Bounds(1.0, 0.0), "`lower` must be at most `upper`"),
        (lambda: Bounds(float("nan")), "`lower` must not be NaN"),
        (
            lambda: Bounds("floor").project(torch.ones(1, 2)),
            "`lower` is the variable 'floor', with one entry per sample",
        ),
        (
            lambda: Bounds("floor").bind({"cap": torch.ones(1)}),
            "'floor', which the samples lack; they have cap",
        ),
        (
            lambda: Bounds(torch.ones(3)).project(torch.ones(1, 2)),
            r"`lower` has the shape \(3,\), and samples have the shape \(2,\)",
        ),
        (lambda: Polytope(torch.ones(2), torch.ones(2)), r"`matrix` must hold finite numbers \(m, n\)"),
        (lambda: Polytope(torch.ones(2, 2), torch.ones(3)), "`limit` must be 2 numbers"),
        (lambda: Simplex(0.0), "`total` must be positive"),
        (lambda: Simplex(axes=(0, 0)), "`axes` must be different axes"),
        (lambda: Ball(-1.0), "`radius` must be positive"),
    ],
)
def test_what_does_not_fit_is_named(made, message):
    with pytest.raises(ValueError, match=message):
        made()


@pytest.fixture
def example():
    rng = np.random.default_rng(0)
    return xr.Dataset(
        {
            "state": (("sample", "x", "y"), rng.standard_normal((3, 2, 4)), {"units": "kg"}),
            "floor": (("x",), np.array([0.0, 1.0])),
            "cap": (("sample", "x", "y"), 2 + rng.random((3, 2, 4))),
            "energy": (("sample",), np.arange(1.0, 4.0)),
            "rows": (("row", "coordinate"), rng.standard_normal((5, 8))),
            "room": (("sample", "row"), rng.random((3, 5))),
        }
    )


@pytest.mark.parametrize(
    "spec",
    [
        BoundsSpec(lower="floor", upper="cap"),
        BoundsSpec(upper=[float(i) for i in range(8)]),
        PolytopeSpec(matrix="rows", limit="room"),
        PolytopeSpec(matrix=[[1.0] * 8], limit=[1.0]),
        SimplexSpec(total="energy", over=("y",)),
        BallSpec(radius="energy", center="floor"),
        SphereSpec(radius=2.0),
    ],
    ids=lambda spec: spec.kind,
)
def test_specs_build_from_names(spec, example):
    constraint = spec.build(example).bind(example)
    projected = constraint.project(torch.as_tensor(example["state"].values))
    assert constraint.unit == "kg"
    assert (constraint.violation(projected) < 1e-9).all()
    chosen = constraint.select(torch.tensor([2, 0]))
    torch.testing.assert_close(chosen.project(projected[[2, 0]]), projected[[2, 0]])


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            BoundsSpec(lower="ceiling"),
            "`bounds`: `lower`: the dataset has no variable 'ceiling'; it has state, floor",
        ),
        (BoundsSpec(lower=[1.0]), "`bounds`: `lower` has 1 numbers for 8 coordinates"),
        (SimplexSpec(over=("z",)), "`simplex`: `over` names z, and samples have the dimensions"),
        (BallSpec(radius="floor"), "`ball`: `radius`: 'floor' must hold one number, or one per sample"),
        (PolytopeSpec(matrix="rows", limit="energy"), "must hold 5 numbers per sample"),
        (BoundsSpec(lower="rows"), "has the dimensions"),
    ],
)
def test_specs_name_what_does_not_fit(spec, message, example):
    with pytest.raises(ValueError, match=message):
        spec.build(example)
