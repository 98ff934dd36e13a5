"""Equations: projections against closed forms and scipy, order of convergence, reports of failures."""

import logging
from itertools import pairwise

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq

from plumbline.constraints import Equations, LinearEquality
from plumbline.constraints import _nearest as nearest
from plumbline.constraints.equations import EquationsSpec
from plumbline.samplers import Costs, SamplerSpec, Samples, SamplingTask
from plumbline.samplers.final_projection import FinalProjectionSpec

WAYS = [False, True]
FLOAT = torch.float64


def on_sphere(x):
    return x.flatten(1).square().sum(1, keepdim=True) - 1


def ellipsoid(axes):
    return lambda x: (x / axes).square().sum(1) - 1


def wavy(weights):
    """Four coupled, strongly curved equations."""
    return lambda x: torch.sin(x @ weights).cumsum(1)[:, :4] * 2 + x[:, :4] ** 3 - 0.3


def largest_kkt(constraint, x, z):
    """The largest |z - x + J^T lambda| / |z - x|, with the Jacobian of one sample at a time."""
    worst = 0.0
    for start, point in zip(x, z, strict=True):
        jacobian = torch.autograd.functional.jacobian(
            lambda p: constraint.residual(p[None])[0], point
        ).flatten(1)
        away = (point - start).flatten()
        tangential = away - jacobian.mT @ torch.linalg.lstsq(jacobian.mT, away[:, None]).solution.squeeze(1)
        worst = max(worst, float(tangential.norm() / away.norm()))
    return worst


sizes = st.integers(1, 5).flatmap(
    lambda m: st.tuples(st.just(m), st.integers(m + 1, 12), st.integers(0, 4), st.integers(0, 10**6))
)


@settings(max_examples=40)
@given(sizes, st.sampled_from(WAYS), st.sampled_from([torch.float32, FLOAT]))
def test_linear_equations_are_projected_as_by_a_linear_equality(size, matrix_free, dtype):
    m, n, batch, seed = size
    g = torch.Generator().manual_seed(seed)
    matrix, target = torch.randn(m, n, generator=g, dtype=FLOAT), torch.randn(m, generator=g, dtype=FLOAT)
    x = torch.randn(batch, n, generator=g, dtype=FLOAT).to(dtype)
    equations = Equations(lambda x: x @ matrix.mT - target, matrix_free=matrix_free)
    found, wanted = equations.project(x), LinearEquality(matrix, target).project(x)
    assert found.dtype == dtype
    tolerance = 1e-10 if dtype is FLOAT else 1e-5
    torch.testing.assert_close(
        found, wanted, rtol=tolerance, atol=tolerance * (1 + float(wanted.abs().sum()))
    )


@pytest.mark.parametrize("matrix_free", WAYS)
@pytest.mark.parametrize("size", [0.2, 1.0, 30.0])
def test_the_sphere_is_met_along_the_radius(matrix_free, size):
    x = size * torch.randn(16, 2, 3, dtype=FLOAT)
    report = Equations(on_sphere, matrix_free=matrix_free).project_with_report(x)
    assert report.converged.all() and report.kkt.max() < 1e-8
    torch.testing.assert_close(
        report.points, x / x.flatten(1).norm(dim=1)[:, None, None], rtol=1e-10, atol=1e-10
    )


def nearest_on_ellipse(x, axes):
    """The point of an ellipse nearest to an outside point, from the scalar equation for its multiplier."""

    def excess(multiplier):
        return sum((a * c / (a**2 + multiplier)) ** 2 for a, c in zip(axes, x, strict=True)) - 1

    root = brentq(excess, 0.0, 1e3, xtol=1e-15, rtol=1e-15)
    return [a**2 * c / (a**2 + root) for a, c in zip(axes, x, strict=True)]


def test_the_ellipse_is_met_where_the_equation_of_its_multiplier_says():
    axes = (2.0, 0.5)
    angles = torch.arange(40, dtype=FLOAT) * 2 * torch.pi / 40 + 0.1
    x = torch.stack([3 * angles.cos(), 2 * angles.sin()], 1)
    wanted = torch.tensor([nearest_on_ellipse(point.tolist(), axes) for point in x], dtype=FLOAT)
    report = Equations(ellipsoid(torch.tensor(axes, dtype=FLOAT))).project_with_report(x)
    assert report.converged.all()
    torch.testing.assert_close(report.points, wanted, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("matrix_free", WAYS)
def test_curved_equations_are_solved_to_the_conditions_of_first_order(matrix_free):
    x = torch.randn(60, 10, dtype=FLOAT)
    constraint = Equations(wavy(torch.randn(10, 10, dtype=FLOAT)), matrix_free=matrix_free)
    report = constraint.project_with_report(x)
    assert report.converged.all()
    assert report.residual.max() < 1e-9
    assert report.kkt.max() < 1e-8 and largest_kkt(constraint, x, report.points) < 1e-8
    # Projecting again changes nothing.
    torch.testing.assert_close(constraint.project(report.points), report.points, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("far", [10.0, 1e3, 1e5])
def test_starts_far_away_converge(far):
    axes = torch.linspace(0.3, 1, 10, dtype=FLOAT)
    report = Equations(ellipsoid(axes)).project_with_report(far * torch.randn(20, 10, dtype=FLOAT))
    assert report.converged.all()


def test_samples_do_not_depend_on_those_that_they_are_projected_with():
    constraint, x = Equations(wavy(torch.randn(10, 10, dtype=FLOAT))), torch.randn(9, 10, dtype=FLOAT)
    together = constraint.project(x)
    alone = torch.cat([constraint.project(one[None]) for one in x])
    torch.testing.assert_close(together, alone, rtol=1e-8, atol=1e-8)


def test_the_unit_of_the_residual_does_not_matter():
    weights, x = torch.randn(10, 10, dtype=FLOAT), torch.randn(20, 10, dtype=FLOAT)
    scales = torch.tensor([1e-8, 1.0, 1e8, 1e3], dtype=FLOAT)
    first, other = Equations(wavy(weights)), Equations(lambda x: scales * wavy(weights)(x))
    torch.testing.assert_close(first.project(x), other.project(x), rtol=1e-8, atol=1e-8)
    one, scaled = Equations(lambda x: on_sphere(x)), Equations(lambda x: 1e6 * on_sphere(x))
    torch.testing.assert_close(one.violation(x), scaled.violation(x))


def test_the_last_steps_converge_with_order_two(monkeypatch):
    """Compares log e_{k+1} with log e_k for the tangential gradient e, one sample at a time."""
    errors = []
    search = nearest.NearestPoint._searched

    def watched(self, active, *others):
        errors[-1].append(float(self.kkt[active][0]))
        return search(self, active, *others)

    monkeypatch.setattr(nearest.NearestPoint, "_searched", watched)
    constraint = Equations(wavy(torch.randn(10, 10, dtype=FLOAT)))
    orders = []
    for x in torch.randn(20, 10, dtype=FLOAT):
        errors.append([])
        report = constraint.project_with_report(x[None])
        steps = [*errors[-1], max(float(report.kkt), 1e-15)]
        pairs = [(a, b) for a, b in pairwise(steps) if 1e-7 < a < 1e-2]
        orders += [np.log(b) / np.log(a) for a, b in pairs]
    assert len(orders) > 10
    assert np.median(orders) > 1.7


@pytest.mark.parametrize("matrix_free", WAYS)
def test_rows_that_follow_from_others_do_no_harm(matrix_free):
    twice = Equations(lambda x: torch.cat([on_sphere(x), 3 * on_sphere(x)], 1), matrix_free=matrix_free)
    x = torch.randn(5, 3, dtype=FLOAT)
    report = twice.project_with_report(x)
    assert report.converged.all()
    torch.testing.assert_close(report.points, x / x.norm(dim=1, keepdim=True), rtol=1e-8, atol=1e-8)


def test_failures_are_reported_sample_by_sample(caplog):
    """x0^2 + b = 0: feasible; infeasible; infeasible with zero derivative at the start; not finite."""
    known = {"b": torch.tensor([-1.0, 1.0, 1.0, torch.nan])}
    constraint = Equations(lambda x, known: x[:, :1] ** 2 + known["b"][:, None], known=known)
    x = torch.tensor([[2.0, 1.0], [2.0, 1.0], [0.0, 1.0], [2.0, 1.0]])
    report = constraint.project_with_report(x)
    assert report.converged.tolist() == [True, False, False, False]
    assert report.reason[1] in (nearest.NO_DESCENT, nearest.DEFICIENT)
    assert report.reason[2:].tolist() == [nearest.DEFICIENT, nearest.NOT_FINITE]
    torch.testing.assert_close(report.points[0], torch.tensor([1.0, 1.0]))
    torch.testing.assert_close(report.points[3], x[3])
    assert (report.residual[1:3] >= 1).all() and report.iterations.max() < 100
    with caplog.at_level(logging.WARNING, "plumbline.constraints"):
        constraint.project(x)
    assert "3 of 4 samples did not converge" in caplog.text
    assert "1 with a residual or derivative that is not finite" in caplog.text


def test_iterations_are_limited():
    report = Equations(on_sphere, iterations=3).project_with_report(1e6 * torch.ones(2, 3))
    assert not report.converged.any() and report.iterations.max() <= 3
    assert report.failures() == {"iterations exhausted, or no step towards the nearest point": 2}


def test_known_variables_go_with_their_samples():
    radius = torch.tensor([0.5, 1.0, 2.0])
    data = xr.Dataset({"radius": ("sample", radius.numpy()), "state": (("sample", "x"), np.zeros((3, 4)))})
    constraint = Equations(lambda x, known: x.norm(dim=1) - known["radius"]).bind(data)
    assert list(constraint.known) == ["radius"]
    torch.testing.assert_close(constraint.project(torch.randn(3, 4)).norm(dim=1), radius)
    with pytest.raises(ValueError, match="3 entries of 'radius' are bound for 2 samples"):
        constraint.residual(torch.randn(2, 4))


@pytest.mark.parametrize("scale", [None, 2.0])
def test_violations_are_differentiable_and_of_first_order(scale):
    x = (1.001 * torch.nn.functional.normalize(torch.randn(5, 3, dtype=FLOAT))).requires_grad_()
    violation = Equations(on_sphere, scale=scale).violation(x)
    wanted = (x.norm(dim=1).detach() ** 2 - 1) / 2 if scale else torch.full((5,), 1e-3, dtype=FLOAT)
    torch.testing.assert_close(violation.detach(), wanted, rtol=2e-3, atol=0)
    (gradient,) = torch.autograd.grad(violation.sum(), x)
    assert torch.isfinite(gradient).all() and ((gradient * x).sum(1) > 0).all()


@pytest.mark.parametrize("matrix_free", WAYS)
def test_products_with_the_jacobian(matrix_free):
    x = torch.randn(3, 10, dtype=FLOAT)
    function = wavy(torch.randn(10, 10, dtype=FLOAT))
    products = Equations(function, matrix_free=matrix_free).jacobian_products(x)
    wanted = torch.func.vmap(torch.func.jacrev(lambda p: function(p[None])[0]))(x)
    v, y = torch.randn(3, 10, dtype=FLOAT), torch.randn(3, 4, dtype=FLOAT)
    torch.testing.assert_close(products.apply(v), (wanted @ v[..., None]).squeeze(-1))
    torch.testing.assert_close(products.adjoint(y), (wanted.mT @ y[..., None]).squeeze(-1))
    tangent = products.tangent(v)
    torch.testing.assert_close(products.apply(tangent), torch.zeros(3, 4, dtype=FLOAT), atol=1e-9, rtol=0)


def test_projecting_works_without_gradients_and_for_no_samples():
    constraint, x = Equations(on_sphere), torch.randn(4, 3)
    with torch.inference_mode():
        inference = constraint.project(x.clone())
    with torch.no_grad():
        torch.testing.assert_close(constraint.project(x), inference)
    assert constraint.project(x[:0]).shape == (0, 3)
    assert constraint.violation(x[:0]).shape == (0,)


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        (
            lambda x: x.sum(),
            ValueError,
            r"must return a tensor of real numbers \(2, m\).*found \(\) of torch.float32",
        ),
        (lambda x: x.numpy(), ValueError, "found ndarray"),
        (lambda x, y: x, TypeError, r"must take `x`, or `x` and `known`, found the signature \(x, y\)"),
    ],
)
def test_functions_that_do_not_fit_are_named(function, error, message):
    with pytest.raises(error, match=message):
        Equations(function).residual(torch.zeros(2, 3))


def test_a_residual_that_is_cut_off_from_the_sample_is_named():
    with pytest.raises(ValueError, match="does not depend on x, or was cut off"):
        Equations(lambda x: x.detach()).project(torch.ones(2, 3))


def test_errors_of_the_function_say_what_it_was_called_with():
    with pytest.raises(RuntimeError) as raised:
        Equations(lambda x: x @ torch.ones(7, 1)).residual(torch.zeros(2, 3))
    assert any("called with x of shape (2, 3)" in note for note in raised.value.__notes__)


@pytest.fixture
def example():
    states = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
    return xr.Dataset({"state": (("sample", "x"), states), "radius": ("sample", np.arange(1.0, 5.0))})


def test_a_function_of_a_file_becomes_a_constraint(tmp_path, example):
    file = tmp_path / "own.py"
    file.write_text("def norm(x, known):\n    return x.norm(dim=1) - known['radius']\n")
    spec = EquationsSpec(function=f"{file}:norm", unit="m")
    constraint = spec.build(example).bind(example)
    found = constraint.project(torch.as_tensor(example["state"].values))
    assert constraint.unit == "m"
    torch.testing.assert_close(found.norm(dim=1), torch.arange(1.0, 5.0))


def test_a_function_that_mixes_samples_is_refused(tmp_path, example):
    file = tmp_path / "own.py"
    file.write_text("def mixed(x):\n    return x - x.mean()\n")
    with pytest.raises(ValueError, match="'mixed' gives the first sample other residuals in a batch of 2"):
        EquationsSpec(function=f"{file}:mixed").build(example)


def test_a_final_projection_keeps_its_report_beside_the_samples(caplog):
    class Drawn(SamplerSpec):
        kind: str = "drawn"

        def draw(self, model, task):
            return Samples(torch.tensor([[2.0, 0.0], [0.0, 0.0]]), {}, Costs())

    method = FinalProjectionSpec(constraint="sphere", base=Drawn())
    task = SamplingTask({}, {"sphere": Equations(on_sphere)})
    samples = method.sample(None, task)
    assert samples.details["projection_converged"].tolist() == [1.0, 0.0]
    assert samples.details["projection_residual"].tolist() == pytest.approx([0.0, 1.0])
    assert samples.details["projection_iterations"].shape == (2,)
    assert "sphere: the projection of 1 of 2 samples did not converge" in caplog.text
    assert samples.costs.projection_solves == 1
