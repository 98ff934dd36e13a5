"""Observations: observed values, noise, and the residual of the truth."""

import numpy as np
import pytest
import torch

from plumbline.observations.points import PointsSpec
from plumbline.observations.states import StatesSpec


def test_states_and_points_are_the_numbers_named():
    x = torch.arange(2 * 4 * 3 * 6.0).view(2, 4, 3, 6)
    states = StatesSpec(which=(0, -1), noise=0.1).build({"time": 4, "component": 3, "x": 6})
    torch.testing.assert_close(states.apply(x), torch.cat([x[:, 0], x[:, 3]], 1).flatten(1))
    points = PointsSpec(every=2, noise=0.1).build({"time": 4, "component": 3, "x": 6})
    torch.testing.assert_close(points.apply(x), x[:, :, ::2, ::2].flatten(1))


def test_the_noise_belongs_to_the_sample():
    """The noise depends on the sample and the seed of the observation, not on the batch."""
    x = torch.randn(6, 5, 8)
    spec = StatesSpec(which=(1, 2), noise=0.5)
    whole = spec.build({"time": 5, "x": 8}).of(x, np.arange(6)).values
    part = spec.build({"time": 5, "x": 8}).of(x[4:], np.arange(4, 6)).values
    torch.testing.assert_close(whole[4:], part)
    other = spec.model_copy(update={"seed": 1}).build({"time": 5, "x": 8}).of(x, np.arange(6)).values
    assert not torch.allclose(whole, other)


def test_the_residual_of_the_truth_is_standard_normal():
    """20,000 values: mean and variance within five standard errors."""
    x = torch.randn(500, 5, 8)
    residual = (
        StatesSpec(which=(0, 1, 2, 3, 4), noise=0.3)
        .build({"time": 5, "x": 8})
        .of(x, np.arange(500))
        .residual(x)
    )
    assert abs(float(residual.mean())) < 5 / 20_000**0.5
    assert float(residual.square().mean()) == pytest.approx(1.0, abs=5 * (2 / 20_000) ** 0.5)


def test_what_cannot_be_observed_is_named():
    with pytest.raises(ValueError, match=r"\[0, 7\] must be indices of the 5 states"):
        StatesSpec(which=(0, 7), noise=1.0).build({"time": 5, "x": 8})
    with pytest.raises(ValueError, match="needs samples on a grid"):
        PointsSpec(every=2, noise=1.0).build({"component": 12})
    with pytest.raises(ValueError, match="no measurements"):
        StatesSpec(which=(0,), noise=1.0).build({"time": 5, "x": 8}).residual(torch.zeros(1, 5, 8))


def test_states_are_those_of_the_time_by_name():
    with pytest.raises(
        ValueError, match=r"must be `time`, found \(x, time\): set `dataset.dimensions` to \[time, x\]"
    ):
        StatesSpec(which=(0,), noise=1.0).build({"x": 8, "time": 5})
