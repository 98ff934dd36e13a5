"""The explicit scheme for Burgers' equation: its order, agreement with the Fourier method, and stability."""

import math

import numpy as np
import pytest
import torch

from plumbline.solvers import burgers, burgers_differences

LENGTH, VISCOSITY, END = 10.0, 0.2, 1.0


def wave(points):
    x = LENGTH / points * torch.arange(points, dtype=torch.float64)
    return (0.5 + 0.3 * torch.sin(2 * math.pi * x / LENGTH) + 0.1 * torch.cos(4 * math.pi * x / LENGTH))[None]


def solved(points, steps):
    return burgers_differences.solve(
        wave(points), 1, steps, step=END / steps, length=LENGTH, viscosity=VISCOSITY
    )[:, 1]


def test_it_is_of_second_order_in_space():
    """With a step proportional to the squared spacing, half the spacing leaves a quarter of the error."""
    errors = []
    for points, steps in ((32, 10), (64, 40), (128, 160)):
        exact = burgers.solve(wave(points), torch.tensor([END]), length=LENGTH, viscosity=VISCOSITY)[:, 0]
        errors.append(float((solved(points, steps) - exact).abs().max()))
    np.testing.assert_allclose(np.log2(np.array(errors[:-1]) / np.array(errors[1:])), 2.0, atol=0.15)


def test_it_is_of_first_order_in_time():
    exact_in_time = solved(128, 12800)
    coarse, fine = (float((solved(128, steps) - exact_in_time).abs().max()) for steps in (100, 200))
    assert coarse / fine == pytest.approx((1 / 100 - 1 / 12800) / (1 / 200 - 1 / 12800), rel=0.02)


def test_states_are_equally_many_steps_apart():
    u0 = wave(32)
    states = burgers_differences.solve(u0, 3, 4, step=0.02, length=LENGTH, viscosity=VISCOSITY)
    assert states.shape == (1, 4, 32)
    assert torch.equal(states[:, 0], u0)
    again = burgers_differences.solve(states[:, 1], 2, 4, step=0.02, length=LENGTH, viscosity=VISCOSITY)
    assert torch.equal(again[:, 1:], states[:, 2:])


def test_steps_between_do_not_suffer_rounding():
    assert burgers_differences.steps_between(0.125, 0.025) == 5
    assert burgers_differences.steps_between(0.3, 0.1) == 3
    assert burgers_differences.steps_between(0.13, 0.025) == 6


def test_an_unstable_step_is_named():
    with pytest.raises(ValueError, match=r"unstable at a grid spacing of 0\.0195.*Lower `max_step` to"):
        burgers_differences.solve(wave(512), 1, 1, step=0.02, length=LENGTH, viscosity=VISCOSITY)
