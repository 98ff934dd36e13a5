"""BurgersResidual: zero on the solver's trajectories, nearest trajectory by projection."""

import numpy as np
import pytest
import torch

from plumbline.constraints.burgers_residual import BurgersResidualSpec
from plumbline.datasets.burgers import BurgersSpec

# By both discretisations; explicit steps must be short.
MAX_STEP = {"spectral": 0.05, "differences": 0.02}


@pytest.fixture(scope="module", params=MAX_STEP)
def discretisation(request):
    return {"discretisation": request.param, "max_step": MAX_STEP[request.param]}


@pytest.fixture(scope="module")
def data(discretisation):
    sizes = {"points": 16, "times": 12, "duration": 4.0, "splits": {"train": 4, "validation": 2, "test": 2}}
    return BurgersSpec(parts=1, **sizes, **discretisation).draw_part(0)


@pytest.fixture(scope="module")
def constraint(data, discretisation):
    return BurgersResidualSpec(**discretisation).build(data)


def test_data_is_feasible_and_noise_is_not(data, constraint):
    state = torch.as_tensor(data["state"].values)
    assert (constraint.violation(state) < 1e-6).all()
    assert constraint.satisfied(state).all()
    # White noise of size s has a mean absolute residual of about s: 0.8 s, times the root of two terms.
    distance = constraint.distance(state + 0.01 * torch.randn_like(state))
    assert ((distance > 0.006) & (distance < 0.014)).all()


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
        nearby = constraint.propagated(start, noisy.shape[1] - 1)
        assert ((nearby - noisy).square().sum((1, 2)) > best).all()


def test_distance_is_differentiable(data, constraint):
    state = torch.as_tensor(data["state"].values[:1, :3]).double()
    state = (state + 0.1 * torch.randn_like(state)).requires_grad_()
    assert torch.autograd.gradcheck(constraint.residual, (state,), atol=1e-6)


def test_states_must_be_in_order(data, constraint):
    reverse = torch.as_tensor(np.ascontiguousarray(data["state"].values[:, ::-1]))
    assert (constraint.distance(reverse) > 1e-3).all()


PUBLISHED = {
    "points": 64, "times": 64, "duration": 8.0, "length": 10 * 64 / 63, "viscosity": 0.05, "correlation_length": 1.0,
    "initial": "interval", "discretisation": "differences", "max_step": 0.025,
}  # fmt: skip


@pytest.fixture(scope="module")
def published():
    """Data by the published recipe (Feng, Baptista, Bouman, ICLR 2025)."""
    return BurgersSpec(parts=1, splits={"train": 160, "validation": 2, "test": 2}, **PUBLISHED).draw_part(0)


def test_published_data(published):
    """Against what the authors' 16 test images have: mean .476, deviation .212, a jump of .178 in the first state.

    Their means are of 16 images; four standard errors of such are .08, .02 and .12.
    """
    state = published["state"].values
    assert state.mean() == pytest.approx(0.476, abs=0.08)
    assert state.std() == pytest.approx(0.212, abs=0.02)
    first = state[:, 0]
    assert np.abs(first[:, 0] - first[:, -1]).mean() == pytest.approx(0.178, abs=0.12)
    # The first field on the line is not periodic, a neighbour is much nearer than the other end.
    assert np.abs(first[:, 0] - first[:, -1]).mean() > 2 * np.abs(np.diff(first, axis=-1)).mean()


def test_published_residual(published):
    """Zero on its data; white noise of size s makes .965 s, and the true solution in time 1.5e-4."""
    constraint = BurgersResidualSpec(discretisation="differences", max_step=0.025).build(published)
    state = torch.as_tensor(published["state"].values)
    assert constraint.steps == 5
    assert (constraint.distance(state) < 1e-6).all()
    noisy = state + 0.01 * torch.randn(state.shape, generator=torch.Generator().manual_seed(0))
    assert float(constraint.distance(noisy).mean()) == pytest.approx(0.00965, rel=0.02)
    finer = BurgersSpec(
        parts=1, splits={"train": 16, "validation": 2, "test": 2}, **(PUBLISHED | {"max_step": 0.00125})
    ).draw_part(0)
    assert float(constraint.distance(torch.as_tensor(finer["state"].values)).mean()) == pytest.approx(
        1.5e-4, rel=0.2
    )


def test_what_blows_up_is_projected_from_a_smaller_state(published):
    """Samples of an untrained model may be too large for explicit steps; their projection is feasible all the same."""
    constraint = BurgersResidualSpec(discretisation="differences", max_step=0.025).build(published)
    state = torch.as_tensor(published["state"].values[:2]).double()
    wild = torch.cat([1e6 * torch.randn_like(state[:1]), state[1:]])
    assert not constraint.propagated(wild[:, 0], 63).isfinite().all()
    projected = constraint.project(wild)
    assert projected.isfinite().all()
    assert (constraint.violation(projected) < 1e-9).all()
    torch.testing.assert_close(projected[1], state[1], atol=1e-5, rtol=0)
