"""BurgersResidual: zero on the solver's trajectories, nearest trajectory by projection."""

import numpy as np
import pytest
import torch

from plumbline.constraints.burgers import BurgersResidualSpec
from plumbline.datasets.burgers import BurgersSpec

SPEC = BurgersSpec(
    points=16, times=12, duration=4.0, parts=1, splits={"train": 4, "validation": 2, "test": 2}
)


@pytest.fixture(scope="module")
def data():
    return SPEC.draw_part(0)


@pytest.fixture(scope="module")
def constraint(data):
    return BurgersResidualSpec().build(data)


def test_data_is_feasible_and_noise_is_not(data, constraint):
    state = torch.as_tensor(data["state"].values)
    assert (constraint.violation(state) < 1e-6).all()
    assert constraint.satisfied(state).all()
    # White noise of size s has a mean absolute residual of about s: 0.8 s, times the root of two terms at most.
    distance = constraint.distance(state + 0.01 * torch.randn_like(state))
    assert ((distance > 0.006) & (distance < 0.012)).all()


def test_projection_is_feasible_and_idempotent(data, constraint):
    state = torch.as_tensor(data["state"].values).double()
    noisy = state + 0.05 * torch.randn_like(state)
    projected = constraint.project(noisy)
    assert (constraint.violation(projected) < 1e-10).all()
    torch.testing.assert_close(constraint.project(projected), projected, rtol=0, atol=1e-7)


def test_projection_is_a_stationary_point_nearer_than_the_truth(data, constraint):
    state = torch.as_tensor(data["state"].values).double()
    noisy = state + 0.05 * torch.randn_like(state)
    projected = constraint.project(noisy)
    best = (projected - noisy).square().sum((1, 2))
    assert (best < (state - noisy).square().sum((1, 2))).all()
    for _ in range(5):
        start = projected[:, 0] + 1e-3 * torch.randn(len(noisy), 16, dtype=torch.float64)
        nearby = constraint._propagated(start, noisy.shape[1] - 1)
        assert ((nearby - noisy).square().sum((1, 2)) > best).all()


def test_distance_is_differentiable(data, constraint):
    state = torch.as_tensor(data["state"].values[:1, :3]).double()
    state = (state + 0.1 * torch.randn_like(state)).requires_grad_()
    assert torch.autograd.gradcheck(constraint.residual, (state,), atol=1e-6)


def test_states_must_be_in_order(data, constraint):
    reverse = torch.as_tensor(np.ascontiguousarray(data["state"].values[:, ::-1]))
    assert (constraint.distance(reverse) > 1e-3).all()
