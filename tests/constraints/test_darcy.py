"""DarcyResidual: zero on the solver's fields and only there; its derivatives; its projection."""

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from plumbline.constraints import DarcyResidual, Equations
from plumbline.constraints.darcy_residual import DarcyResidualSpec
from plumbline.coordinates import CoordinateError
from plumbline.datasets.darcy_wells import DarcyWellsSpec
from plumbline.solvers import darcy

DOUBLE = torch.float64


@pytest.fixture(scope="module")
def data():
    splits = {"train": 6, "validation": 2, "test": 2}
    return DarcyWellsSpec(points=16, parts=1, splits=splits).draw_part(0)


@pytest.fixture(scope="module")
def constraint(data):
    return DarcyResidualSpec().build(data)


@pytest.fixture(scope="module")
def exact(data):
    """The fields in double precision (B, 2, 16, 16)."""
    permeability = data["state"].values[:, 0].astype(np.float64)
    pressure = darcy.solve_without_flux(permeability, data["source"].values)
    return torch.as_tensor(np.stack([permeability, pressure], axis=1))


def random_fields(n: int, batch: int, seed: int) -> tuple[DarcyResidual, torch.Tensor]:
    """A constraint with random sources, and random positive permeabilities and pressures."""
    g = torch.Generator().manual_seed(seed)
    source = torch.randn(n, n, generator=g, dtype=DOUBLE)
    permeability = torch.randn(batch, n, n, generator=g, dtype=DOUBLE).exp()
    pressure = torch.randn(batch, n, n, generator=g, dtype=DOUBLE)
    made = DarcyResidual(source - source.mean(), spacing=(1 / n, 1 / n), smallest=1e-3)
    return made, torch.stack([permeability, pressure], dim=1)


def test_the_residual_of_the_solver_is_rounding_and_that_of_the_data_single_precision(
    data, constraint, exact
):
    assert (constraint.violation(exact) < 1e-12).all()
    stored = torch.as_tensor(data["state"].values)
    assert (constraint.violation(stored) < 2e-5).all() and constraint.satisfied(stored).all()
    assert (constraint.violation(stored) > 1e-8).any()


def test_the_data_of_the_published_grid_is_feasible():
    splits = {"train": 16, "validation": 2, "test": 2}
    data = DarcyWellsSpec(parts=1, splits=splits).draw_part(0)
    violation = DarcyResidualSpec().build(data).violation(torch.as_tensor(data["state"].values))
    assert (violation < 3e-4).all()


def test_noise_another_permeability_and_a_mean_pressure_are_seen(constraint, exact):
    noisy = (
        exact
        + 0.01
        * torch.randn(exact.shape, generator=torch.Generator().manual_seed(0), dtype=DOUBLE)
        * torch.tensor([1.0, 0.1], dtype=DOUBLE)[:, None, None]
    )
    shifted = exact.clone()
    shifted[:, 1] += 0.1
    assert not constraint.satisfied(noisy).any()
    other = torch.stack([exact[:, 0].roll(1, 0), exact[:, 1]], dim=1)
    assert not constraint.satisfied(other).any()
    torch.testing.assert_close(constraint.residual(shifted), torch.full_like(exact[:, 0], 0.1))
    assert not constraint.satisfied(shifted).any()
    doubled = torch.stack([2 * exact[:, 0], exact[:, 1] / 2], dim=1)
    assert (constraint.violation(doubled) < 1e-12).all()


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 7), st.integers(1, 3), st.integers(0, 10**6))
def test_the_residual_is_that_of_the_solvers_matrix(n, batch, seed):
    constraint, x = random_fields(n, batch, seed)
    source = constraint.source.numpy()
    for one, residual in zip(x.numpy(), constraint.residual(x).numpy(), strict=True):
        flat = darcy.matrix_without_flux(one[0]) @ one[1].ravel() - source.ravel() + one[1].mean()
        np.testing.assert_allclose(residual.ravel(), flat, atol=1e-10 * np.abs(flat).max())


@settings(max_examples=20, deadline=None)
@given(st.integers(3, 8), st.integers(1, 4), st.integers(0, 10**6))
def test_the_projection_is_feasible_idempotent_and_the_solvers(n, batch, seed):
    constraint, x = random_fields(n, batch, seed)
    projected = constraint.project(x)
    assert (constraint.violation(projected) < 1e-8).all()
    assert torch.equal(projected[:, 0], x[:, 0])
    solved = darcy.solve_without_flux(x[:, 0].numpy(), constraint.source.numpy())
    np.testing.assert_allclose(projected[:, 1].numpy(), solved, atol=1e-9 * np.abs(solved).max())
    torch.testing.assert_close(constraint.project(projected), projected, rtol=0, atol=1e-9)
    single = constraint.project(x.float())
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), projected, rtol=1e-4, atol=1e-4)


def test_samples_of_a_batch_do_not_depend_on_each_other(constraint, exact):
    noisy = exact + 0.01 * torch.randn(exact.shape, generator=torch.Generator().manual_seed(1), dtype=DOUBLE)
    for function in (constraint.residual, constraint.violation, constraint.distance):
        alone = torch.cat([function(noisy[i : i + 1]) for i in range(len(noisy))])
        assert torch.equal(alone, function(noisy))
    alone = torch.cat([constraint.project(noisy[i : i + 1]) for i in range(len(noisy))])
    torch.testing.assert_close(alone, constraint.project(noisy), rtol=1e-9, atol=1e-10)


def test_derivatives_agree_with_finite_differences():
    """Where permeabilities are above, below and far below the smallest."""
    constraint, x = random_fields(4, 2, 3)
    x[0, 0, 0, :2] = torch.tensor([-0.3, 5e-4], dtype=DOUBLE)
    x[1, 0, 2, 2] = -2.0
    assert torch.autograd.gradcheck(constraint.residual, (x.requires_grad_(),), eps=1e-8, atol=1e-4)
    assert torch.autograd.gradcheck(constraint.distance, (x,), eps=1e-8, atol=1e-4)


def test_permeabilities_below_the_smallest_are_no_reason_to_fail(constraint, exact):
    low = exact.clone().requires_grad_()
    changed = torch.where(torch.rand(low.shape, generator=torch.Generator().manual_seed(2)) < 0.1, -1.0, low)
    (gradient,) = torch.autograd.grad(constraint.distance(changed).sum(), low)
    assert gradient.isfinite().all()
    violation = constraint.violation(changed)
    assert (violation > constraint.tolerance).all()
    projected = constraint.project(changed.detach())
    assert float(projected[:, 0].min()) == constraint.smallest
    assert (constraint.violation(projected) < 1e-8).all()
    # At the smallest value, neither the equation nor its derivative jumps.
    about = constraint.smallest + torch.tensor([-1e-9, 1e-9], dtype=DOUBLE)
    about = about.view(2, 1, 1).requires_grad_()
    there = constraint.positive(about)
    (slope,) = torch.autograd.grad(there.sum(), about)
    torch.testing.assert_close(there, about, rtol=1e-6, atol=0)
    torch.testing.assert_close(slope, torch.ones_like(slope), rtol=1e-5, atol=0)


def test_a_negative_permeability_is_infeasible_even_if_the_equation_holds(constraint, exact):
    permeability = exact[:1, 0].clone()
    permeability[:, 8, 8] = -0.5
    pressure, solved = constraint.pressure(constraint.positive(permeability))
    x = torch.stack([permeability, pressure], dim=1)
    assert solved.all() and (constraint.residual(x).abs() < 1e-6).all()
    expected = (constraint.smallest + 0.5) / permeability.abs().mean()
    assert float(constraint.violation(x)) == pytest.approx(float(expected), rel=1e-6)


def test_the_projection_is_nearly_the_nearest_pair_for_noisy_pressures():
    """The nearest pair, by steps of second order in both fields, is at most 2% nearer."""
    splits = {"train": 4, "validation": 2, "test": 2}
    data = DarcyWellsSpec(points=8, parts=1, splits=splits).draw_part(0)
    constraint = DarcyResidualSpec().build(data)
    x = torch.as_tensor(data["state"].values[:3]).double()
    noisy = x.clone()
    noisy[:, 1] += 0.01 * torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(0), dtype=DOUBLE)
    both = Equations(lambda z: constraint.residual(z).flatten(1)).project_with_report(noisy)
    assert both.converged.all()
    ours = (constraint.project(noisy) - noisy).flatten(1).norm(dim=1)
    nearest = (both.points - noisy).flatten(1).norm(dim=1)
    assert (nearest <= ours * (1 + 1e-9)).all() and (ours < 1.02 * nearest).all()


def test_other_spacings_along_the_axes():
    """In a rectangle, what flows out of the first cell is its source."""
    source = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, -1.0]], dtype=DOUBLE)
    made = DarcyResidual(source, spacing=(0.5, 1.0), smallest=1e-3)
    pressure, solved = made.pressure(torch.ones(1, 3, 2, dtype=DOUBLE))
    assert solved.all()
    x = torch.stack([torch.ones(1, 3, 2, dtype=DOUBLE), pressure], dim=1)
    assert (made.residual(x).abs() < 1e-10).all()
    p = pressure[0]
    assert float(4 * (p[0, 0] - p[1, 0]) + (p[0, 0] - p[0, 1])) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.isel(field=slice(None, None, -1)), "in this order, found pressure, permeability"),
        (lambda d: d.drop_vars("field"), "found none: write them into the file"),
        (lambda d: d.drop_vars("source"), "needs the variable `source` with the dimensions"),
        (lambda d: d.transpose("sample", "x", "y", "field"), r"found \(x, y, field\)"),
    ],
)
def test_data_of_another_layout_is_refused(data, change, message):
    with pytest.raises(CoordinateError, match=message):
        DarcyResidualSpec().build(change(data))


def test_sources_that_do_not_add_up_to_zero_are_refused(data):
    wrong = data.assign(source=xr.full_like(data["source"], 1.0))
    with pytest.raises(ValueError, match="must add up to zero"):
        DarcyResidualSpec().build(wrong)
