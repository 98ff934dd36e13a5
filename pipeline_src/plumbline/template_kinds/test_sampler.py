"""From the exact denoiser of a Gaussian, the sampler draws that Gaussian."""

import torch
from azula.denoise import GaussianDenoiser
from azula.linalg.covariance import IsotropicCovariance
from azula.noise import VPSchedule
from example import ExampleSpec

from plumbline.samplers import draw


def test_a_gaussian_is_drawn():
    """Mean and standard deviation of 20,000 values: 5 standard errors, and 5% for the steps."""
    torch.manual_seed(0)
    denoiser = GaussianDenoiser(torch.ones(2), IsotropicCovariance(torch.tensor(4.0)), VPSchedule())
    x = draw(denoiser, ExampleSpec(steps=64), shape=(10_000, 2))
    assert abs(float(x.mean()) - 1) < 5 * 2 / 20_000**0.5 + 0.05
    assert abs(float(x.std()) / 2 - 1) < 0.05
