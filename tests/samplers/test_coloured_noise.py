"""Noise with a covariance in samplers: the whitened space, by the exact laws of samples."""

import numpy as np
import pytest
import torch
from azula.denoise import Denoiser, DiracPosterior

from plumbline.constraints import LinearEquality
from plumbline.models.diffusion._noise import GaussianField, WhitenedDenoiser, WhitenedSpace
from plumbline.models.diffusion.diffusion import RectifiedScheduleSpec
from plumbline.samplers import ConditionedSpec, DDPMSpec, ECISpec, FlowSpec, SamplingTask
from plumbline.samplers._azula import DataSpace
from plumbline.samplers._denoising import DenoisingContext
from plumbline.samplers._task import Costs


def covariance_of(field):
    """The covariance (16, 16) of a field on 4 by 4 points."""
    unit = torch.eye(16, dtype=torch.float64).view(16, 4, 4)
    return field.coloured(field.coloured(unit)).flatten(1)


class Coloured(Denoiser):
    """The exact denoiser of z ~ N(m, C) given alpha z + sigma e, with noise e ~ N(0, K)."""

    def __init__(self, mean, covariance, noise, schedule):
        super().__init__()
        self.mean, self.covariance, self.noise, self.schedule = mean, covariance, noise, schedule

    def forward(self, x_t, t):
        alpha, sigma = self.schedule(t)
        total = alpha**2 * self.covariance + sigma**2 * self.noise
        ahead = (x_t.flatten(1) - alpha * self.mean) @ torch.linalg.solve(total, alpha * self.covariance)
        return DiracPosterior(mean=(self.mean + ahead).view_as(x_t))


class WhitenedData:
    """A model with coloured noise on a grid of 4 by 4 points, in the data's units."""

    def __init__(self):
        generator = torch.Generator().manual_seed(0)
        self.field = GaussianField((4, 4), grid_dimensions=2, length=0.1, smoothness=0.5)
        root = torch.randn(16, 16, generator=generator, dtype=torch.float64)
        self.mean = torch.randn(16, generator=generator, dtype=torch.float64)
        self.covariance = root @ root.T / 16
        noise = covariance_of(self.field)
        inner = Coloured(self.mean, self.covariance, noise, RectifiedScheduleSpec().build())
        self.denoiser = WhitenedDenoiser(inner, self.field)
        self.space = WhitenedSpace(DataSpace(), self.field)
        self.space.shape = (4, 4)


def test_samplers_draw_the_data_with_coloured_noise(exact_law):
    """A deterministic and a stochastic sampler, by their exact laws."""
    model = WhitenedData()
    for spec, tolerance in ((FlowSpec(steps=200, method="midpoint"), 0.005), (DDPMSpec(steps=200), 0.15)):
        mean, covariance, _ = exact_law(spec, model, None)
        np.testing.assert_allclose(mean, model.mean.numpy(), atol=0.02)
        assert np.abs(covariance - model.covariance.numpy()).max() < tolerance * np.abs(covariance).max()


def test_the_first_state_has_the_covariance_of_the_field():
    """Without an estimate of the denoiser, the decoded first state is a field."""
    model = WhitenedData()
    task = SamplingTask({}, {})
    context = DenoisingContext(task, model.space, Costs())
    unit = torch.eye(16, dtype=torch.float64).view(16, 4, 4)
    decoded = context.decode(unit).flatten(1)
    torch.testing.assert_close(decoded.T @ decoded, covariance_of(model.field), rtol=0, atol=1e-12)


def test_eci_renoises_with_the_field(exact_law):
    """After one step of two, the noise that is left is that of the field, and samples are feasible."""
    model = WhitenedData()
    total = LinearEquality(torch.ones(1, 16, dtype=torch.float64), torch.zeros(1))
    mean, covariance, _ = exact_law(ECISpec(constraint="equalities", steps=30), model, total)
    assert abs(mean.sum()) < 1e-10 and np.abs(covariance.sum(0)).max() < 1e-10
    assert np.trace(covariance) > 1


@pytest.mark.rejects
@pytest.mark.parametrize("covariance", ["data", "isotropic"])
def test_conditioning_refuses_the_whitened_space(covariance):
    spec = ConditionedSpec(constraint="total", base=DDPMSpec(steps=4), covariance=covariance)
    total = LinearEquality(torch.ones(1, 16), torch.zeros(1))
    task = SamplingTask({"state": torch.zeros(2, 4, 4, dtype=torch.float64)}, {"total": total})
    context = DenoisingContext(task, WhitenedData().space, Costs())

    def run():
        sampler = spec.build(WhitenedData().denoiser, context)
        return sampler(torch.zeros(2, 4, 4, dtype=torch.float64))

    with pytest.raises(ValueError, match="a space with the coordinates of the data, found a WhitenedSpace"):
        run()
