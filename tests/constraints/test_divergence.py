"""Zero divergence: projections in Fourier space, for spectral derivatives and for backward differences."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from plumbline.constraints._divergence_free import BackwardDivergence, DivergenceFree

constraint = DivergenceFree(length=2 * math.pi)
backward = BackwardDivergence(length=2 * math.pi)


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from([constraint, backward]),
    st.sampled_from([8, 9, 16]),
    st.integers(0, 10**6),
    st.sampled_from([torch.float32, torch.float64]),
)
def test_projection_is_feasible_idempotent_and_orthogonal(constraint, points, seed, dtype):
    g = torch.Generator().manual_seed(seed)
    x, y = torch.randn(2, 3, 2, points, points, generator=g, dtype=torch.float64).to(dtype).unbind(0)
    x, y = x[None], y[None]
    projected = constraint.project(x)
    eps = torch.finfo(dtype).eps
    assert (constraint.violation(projected) < 20 * eps).all()
    torch.testing.assert_close(constraint.project(projected), projected, rtol=0, atol=50 * eps)
    other = constraint.project(y)
    inner = ((x - projected).double() * (other - projected).double()).sum()
    assert abs(float(inner)) < 1e3 * eps * float(x.double().square().sum())


def test_known_fields():
    x = torch.arange(32, dtype=torch.float64) * 2 * math.pi / 32
    zero = torch.zeros(32, 32, dtype=torch.float64)
    shear = torch.stack([torch.sin(x)[None, :].expand(32, 32), zero])[None]
    assert constraint.distance(shear) < 1e-13
    compressing = torch.stack([torch.sin(x)[:, None].expand(32, 32), zero])[None]
    torch.testing.assert_close(constraint.residual(compressing)[0], torch.cos(x)[:, None].expand(32, 32))
    assert constraint.project(compressing).abs().max() < 1e-13


def test_the_mean_flow_is_kept():
    uniform = torch.ones(1, 2, 8, 8)
    torch.testing.assert_close(constraint.project(uniform), uniform)


def test_backward_differences_count_what_flows_out_of_a_cell():
    """A stream function on the corners has zero outflow by construction, but not with another stencil."""
    torch.manual_seed(0)
    h = 2 * math.pi / 16
    stream = torch.randn(3, 16, 16, dtype=torch.float64)
    u, v = (stream - stream.roll(1, -1)) / h, -(stream - stream.roll(1, -2)) / h
    field = torch.stack([u, v], dim=-3)
    assert backward.distance(field).max() < 1e-13
    swapped = torch.stack([v, u], dim=-3)
    assert backward.distance(swapped).min() > 1.0
    assert constraint.distance(field).min() > 0.1
    torch.testing.assert_close(backward.project(field), field)


def test_the_sensitivity_of_backward_differences_to_white_noise():
    """The outflow of a cell sums four faces.

    Its std is 2 s / h and its mean absolute value sqrt(2 / pi) of that, 16.25 s.
    """
    torch.manual_seed(0)
    noise = torch.randn(16, 2, 64, 64, dtype=torch.float64)
    expected = math.sqrt(2 / math.pi) * 2 * 64 / (2 * math.pi)
    assert float(backward.distance(noise).mean()) == pytest.approx(expected, rel=0.02)  # about ten stds
