"""The log-density under diffusion models with exact denoisers."""

import math

import numpy as np
import pytest
import torch
import xarray as xr

from plumbline.metrics import EvaluationContext
from plumbline.metrics.model_log_density import ModelLogDensitySpec

SMOOTHING = 0.2


def test_under_gaussians_it_is_the_closed_form(exact_gaussian):
    """The models are N(0, 1) and N((-.5, .5), .25^2) in units z = (x - 1) / 2 of the first, with noise of .2.

    Over 20 seeds of the noise, the estimate for the second has a std of .04 around -4.5: .25 is six of them.
    """
    models = {"wide": exact_gaussian([1.0, 1.0], 2.0), "narrow": exact_gaussian([0.0, 2.0], 0.5)}
    points = 1 + 2 * torch.randn(2000, 2, generator=torch.Generator().manual_seed(1)) * 0.5
    samples = xr.Dataset({"state": (("sample", "component"), points.numpy())})
    spec = ModelLogDensitySpec(under=("wide", "narrow"), smoothing=SMOOTHING)
    found = spec.evaluate(samples, samples, EvaluationContext(models=models))
    z = (points - 1) / 2
    for name, mean, variance in (("wide", [0.0, 0.0], 1.0), ("narrow", [-0.5, 0.5], 0.0625)):
        total = variance + SMOOTHING**2
        squares = (z - torch.tensor(mean)).square().sum(1).mean() + 2 * SMOOTHING**2
        expected = -math.log(2 * math.pi * total) - float(squares) / (2 * total)
        assert float(found[f"model_log_density_{name}"]) == pytest.approx(expected, abs=0.25)
    assert float(found["least_model_log_density"]) == float(found["model_log_density_narrow"])


def test_it_leaves_the_random_numbers_of_others_alone(exact_gaussian):
    models = {"wide": exact_gaussian([1.0, 1.0], 2.0)}
    samples = xr.Dataset({"state": (("sample", "component"), np.zeros((4, 2), np.float32))})
    spec = ModelLogDensitySpec(under=("wide",), draws=2)
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    first, second = (spec.evaluate(samples, samples, EvaluationContext(models=models)) for _ in range(2))
    torch.testing.assert_close(torch.rand(2), expected)
    xr.testing.assert_identical(first, second)
