"""KolmogorovResidual: zero on the solver's trajectories and only there."""

import pytest
import torch

from plumbline.constraints.kolmogorov_residual import KolmogorovResidualSpec
from plumbline.datasets.kolmogorov import KolmogorovSpec
from plumbline.solvers import kolmogorov


@pytest.fixture(scope="module")
def data():
    return KolmogorovSpec(
        points=32, times=3, start=1.0, parts=1, splits={"train": 2, "validation": 2, "test": 2}
    ).draw_part(0)


@pytest.fixture(scope="module")
def constraint(data):
    return KolmogorovResidualSpec().build(data)


def test_data_is_feasible_and_noise_is_not(data, constraint):
    state = torch.as_tensor(data["state"].values)
    assert constraint.satisfied(state).all()
    noise = 0.01 * torch.randn(state.shape, generator=torch.Generator().manual_seed(0))
    distance = constraint.distance(state + noise)
    # The noise itself, of mean absolute value .008, and less than as much again for its growth.
    assert ((distance > 0.008) & (distance < 0.016)).all()


def test_a_drift_a_divergence_and_another_order_are_seen(data, constraint):
    state = torch.as_tensor(data["state"].values)
    drift = state.clone()
    drift[:, 1] += 0.1
    diverging = state.clone()
    diverging[:, 2, 0] += 0.1 * torch.sin(torch.tensor(data["x"].values.copy()).float())[:, None]
    for wrong in (drift, diverging, state.flip(1)):
        assert (constraint.distance(wrong) > 0.01).all()


def test_the_force_is_the_datasets(data, constraint):
    other = data.assign_attrs(forcing_amplitude=2.0)
    state = torch.as_tensor(data["state"].values)
    # Twice the force for 0.2 units of time adds 0.2 |sin| to the velocity, minus pressure and drag.
    assert (KolmogorovResidualSpec().build(other).distance(state) > 0.03).all()


def test_vorticity_undoes_velocity(constraint):
    length = constraint.length
    vorticity = torch.randn(2, 16, 16, dtype=torch.float64)
    smooth = kolmogorov.vorticity(kolmogorov.velocity(vorticity, length=length), length=length)
    again = kolmogorov.vorticity(kolmogorov.velocity(smooth, length=length), length=length)
    torch.testing.assert_close(again, smooth)


def test_distance_is_differentiable(data, constraint):
    """Agrees with finite differences along a random direction, in double precision."""
    state = torch.as_tensor(data["state"].values[:1, :2]).double()
    generator = torch.Generator().manual_seed(0)
    state = state + 0.1 * torch.randn(state.shape, generator=generator, dtype=torch.float64)
    direction = torch.randn(state.shape, generator=generator, dtype=torch.float64)
    state.requires_grad_()
    constraint.residual(state).square().sum().backward()
    h = 1e-5
    with torch.no_grad():
        up, down = (constraint.residual(state + s * h * direction).square().sum() for s in (1, -1))
    assert float((state.grad * direction).sum()) == pytest.approx(float((up - down) / (2 * h)), rel=1e-6)
