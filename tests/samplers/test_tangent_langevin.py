"""Tangent Langevin dynamics where the distribution on the feasible set is known. Denoisers are exact."""

import numpy as np
import pytest
import torch
from azula.denoise import Denoiser, DiracPosterior

from plumbline.constraints import Bounds, Equations, LinearEquality
from plumbline.models.diffusion.diffusion import EDMScheduleSpec
from plumbline.samplers import TangentLangevinSpec, draw

HEUN = {"kind": "heun", "steps": 16}


class Gaussian(Denoiser):
    """The exact denoiser of N(mean, diag(variance))."""

    def __init__(self, mean, variance):
        super().__init__()
        self.schedule = EDMScheduleSpec().build()
        self.mean, self.variance = mean, variance

    def forward(self, x_t, t, **conditions):
        alpha, sigma = self.schedule(t)
        gain = alpha * self.variance / (alpha**2 * self.variance + sigma**2)
        return DiracPosterior(self.mean + gain * (x_t - alpha * self.mean))


def drawn(denoiser, count, covariance, constraint, **values):
    torch.manual_seed(0)
    sampler = TangentLangevinSpec(constraint="c", base=HEUN, **values)
    shape = (count, len(covariance))
    return draw(denoiser, sampler, shape=shape, constraints={"c": constraint}, covariance=covariance).double()


def test_it_mends_a_projected_gaussian():
    """N(0, diag(4, .25, 1)) given x0 + x1 = 1, where projection has E x0 = .5 and the exact mean is 16 / 17.

    5,000 samples; the noise of .05 changes means by less than .003; within 6 standard errors.
    """
    variance = torch.tensor([4.0, 0.25, 1.0])
    denoiser = Gaussian(torch.zeros(3), variance)
    total = LinearEquality(torch.tensor([[1.0, 1.0, 0.0]]), torch.tensor([1.0]))
    x = drawn(denoiser, 5000, torch.diag(variance), total, noise=0.05, steps=60, step_size=0.3)
    assert float(total.violation(x).max()) < 1e-6
    exact_variance = 4 - 16 / 4.25
    error = abs(float(x[:, 0].mean()) - 4 / 4.25)
    assert error < 0.003 + 6 * np.sqrt(exact_variance / 5000)
    assert float(x[:, 0].var()) == pytest.approx(exact_variance, rel=6 * np.sqrt(2 / 5000) + 0.02)
    assert float(x[:, 2].var()) == pytest.approx(1.0, rel=6 * np.sqrt(2 / 5000))


ELLIPSE = Equations(lambda x: x[:, :1] ** 2 / 4 + x[:, 1:] ** 2 - 1)


@pytest.mark.parametrize(("distribution", "power"), [("conditioning", 1.0), ("restriction", 0.0)])
@pytest.mark.parametrize("variance", [(1.0, 1.0), (2.0, 0.5)])
def test_the_two_distributions_on_an_ellipse(distribution, power, variance):
    """E x0^2 by quadrature in the angle, also where the preconditioner is not isotropic.

    Within .08; 4,000 samples have a standard error of at most .02, and the noise a bias of .01.
    """
    angle = np.linspace(0, 2 * np.pi, 100_001)[:-1]
    x = np.c_[2 * np.cos(angle), np.sin(angle)]
    weight = np.exp(-(x**2 / np.array(variance)).sum(1) / 2) * np.hypot(2 * np.sin(angle), np.cos(angle))
    weight /= np.hypot(x[:, 0] / 2, 2 * x[:, 1]) ** power
    wanted = (weight * x[:, 0] ** 2).sum() / weight.sum()
    variance = torch.tensor(variance)
    found = drawn(
        Gaussian(torch.zeros(2), variance),
        4000,
        torch.diag(variance),
        ELLIPSE,
        distribution=distribution,
        noise=0.05,
        steps=100,
        step_size=0.3,
    )
    assert float(ELLIPSE.residual(found).abs().max()) < 1e-6
    assert float(found[:, 0].square().mean()) == pytest.approx(wanted, abs=0.08)


def test_inequalities_are_refused():
    with pytest.raises(ValueError, match="moves along equations, and 'c' has inequalities"):
        drawn(Gaussian(torch.zeros(2), torch.ones(2)), 2, torch.eye(2), Bounds(lower=0.0))
