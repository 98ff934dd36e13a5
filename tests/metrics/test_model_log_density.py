"""The log-density under diffusion models, where the denoisers are exact."""

import math

import numpy as np
import pytest
import torch
import xarray as xr

from plumbline.metrics import Instruments
from plumbline.metrics.model_log_density import ModelLogDensitySpec
from plumbline.models import Foundation
from plumbline.models.gaussian import FittedGaussianSpec

SMOOTHING = 0.2


def example():
    return xr.Dataset({"state": (("sample", "component"), np.zeros((1, 2), np.float32))})


def gaussian(mean, deviation):
    """The exact denoiser of N(mean, deviation^2), with that mean and that deviation for its units."""
    torch.manual_seed(0)
    points = torch.randn(4000, 2)
    points = (points - points.mean(0)) @ torch.linalg.inv(torch.linalg.cholesky(points.T.cov())).T
    model = FittedGaussianSpec(scaling="global").build(Foundation(example()))
    model.prepare({"state": torch.tensor(mean) + deviation * points})
    return model.eval().requires_grad_(False)


def test_under_gaussians_it_is_the_closed_form():
    """In units z = (x - 1) / 2 of the first model, N(0, 1) and N((-.5, .5), .25^2), with noise of .2 on both sides.

    Over 20 seeds of the noise the estimate of the second has a deviation of .04 of -4.5: .25 is six of them.
    """
    models = {"wide": gaussian([1.0, 1.0], 2.0), "narrow": gaussian([0.0, 2.0], 0.5)}
    points = 1 + 2 * torch.randn(2000, 2, generator=torch.Generator().manual_seed(1)) * 0.5
    samples = xr.Dataset({"state": (("sample", "component"), points.numpy())})
    spec = ModelLogDensitySpec(under=("wide", "narrow"), smoothing=SMOOTHING)
    found = spec.evaluate(samples, samples, Instruments(models=models))
    z = (points - 1) / 2
    for name, mean, variance in (("wide", [0.0, 0.0], 1.0), ("narrow", [-0.5, 0.5], 0.0625)):
        total = variance + SMOOTHING**2
        squares = (z - torch.tensor(mean)).square().sum(1).mean() + 2 * SMOOTHING**2
        expected = -math.log(2 * math.pi * total) - float(squares) / (2 * total)
        assert float(found[f"model_log_density_{name}"]) == pytest.approx(expected, abs=0.25)
    assert float(found["least_model_log_density"]) == float(found["model_log_density_narrow"])


def test_it_leaves_the_random_numbers_of_others_alone():
    models = {"wide": gaussian([1.0, 1.0], 2.0)}
    samples = xr.Dataset({"state": (("sample", "component"), np.zeros((4, 2), np.float32))})
    spec = ModelLogDensitySpec(under=("wide",), draws=2)
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    first, second = (spec.evaluate(samples, samples, Instruments(models=models)) for _ in range(2))
    torch.testing.assert_close(torch.rand(2), expected)
    xr.testing.assert_identical(first, second)
