"""DiffusionPDE: one step against its formula, the weights in time, and the guidance as a whole."""

import numpy as np
import pytest
import torch
from azula.denoise import Denoiser, DiracPosterior
from azula.sample import HeunSampler
from pydantic import ValidationError

from plumbline.constraints import LinearEquality
from plumbline.models.diffusion.diffusion import EDMScheduleSpec, VPScheduleSpec
from plumbline.samplers import DiffusionPDESpec, SamplingTask, draw
from plumbline.samplers._azula import DataSpace
from plumbline.samplers._denoising import DenoisingContext
from plumbline.samplers._task import Costs


class Standard(Denoiser):
    """The exact denoiser of a standard normal distribution: m = u / (1 + rho^2)."""

    def __init__(self, schedule):
        super().__init__()
        self.schedule = schedule

    def forward(self, x_t, t):
        alpha, sigma = self.schedule(t)
        return DiracPosterior(mean=alpha / (alpha**2 + sigma**2) * x_t)


@pytest.fixture
def problem():
    g = torch.Generator().manual_seed(0)
    matrix = torch.randn(2, 4, generator=g, dtype=torch.float64)
    values = LinearEquality(matrix, torch.tensor([1.0, -1.0]).double())
    total = LinearEquality(torch.ones(1, 4).double(), torch.tensor([2.0]).double())
    return {"values": values, "total": total}, torch.randn(3, 4, generator=g, dtype=torch.float64)


@pytest.mark.parametrize("spec", [EDMScheduleSpec(), VPScheduleSpec()], ids=lambda one: one.kind)
@pytest.mark.parametrize("t", [0.6, 0.1])
def test_a_step_is_heuns_and_the_gradients(problem, spec, t):
    """m at the end of the step is a number times u at its start, so that gradients have a closed form."""
    constraints, x_t = problem
    schedule = spec.build()
    t, s = torch.tensor(t, dtype=torch.float64), torch.tensor(t - 0.05, dtype=torch.float64)
    context = DenoisingContext(SamplingTask({}, constraints), DataSpace(), Costs())
    sampler = DiffusionPDESpec(
        observations="values", observation_weight=0.3, equation="total", equation_weight=0.7
    ).build(Standard(schedule), context)
    found = sampler.step(x_t, t, s)
    plain = HeunSampler(Standard(schedule), silent=True).step(x_t, t, s)
    (alpha, sigma), (alpha_s, sigma_s) = schedule(t), schedule(s)
    before, after = sigma / alpha, sigma_s / alpha_s
    u = x_t / alpha
    growth = (1 + (after - before) * before / (1 + before**2)) / (1 + after**2)
    mean = growth * u
    descent = torch.zeros_like(u)
    last = float(t) < 0.2
    for name, weight in (("values", 0.03 if last else 0.3), ("total", 0.7 if last else 0.0)):
        residual = constraints[name].residual(mean)
        matrix = {"values": constraints["values"].linear_map.matrix, "total": torch.ones(1, 4).double()}[name]
        direction = residual @ matrix / residual.norm(dim=1, keepdim=True)
        descent += weight * growth * direction / residual.shape[1]
    torch.testing.assert_close(found, plain - alpha_s * descent, rtol=0, atol=1e-9)
    assert context.costs.backward_passes == 2


@pytest.mark.parametrize(("t", "passes"), [(0.6, 0), (0.1, 2)])
def test_an_equation_alone_guides_the_last_fifth(problem, t, passes):
    constraints, x_t = problem
    denoiser = Standard(EDMScheduleSpec().build())
    t, s = torch.tensor(t, dtype=torch.float64), torch.tensor(t - 0.05, dtype=torch.float64)
    context = DenoisingContext(SamplingTask({}, constraints), DataSpace(), Costs())
    found = DiffusionPDESpec(equation="total").build(denoiser, context).step(x_t, t, s)
    moved = not torch.allclose(found, HeunSampler(denoiser, silent=True).step(x_t, t, s))
    assert moved == bool(passes) and context.costs.backward_passes == passes


def test_a_larger_weight_comes_nearer(exact_gaussian):
    """The same noise with 50 times the weight leaves less than a third of the residual."""
    total = LinearEquality(torch.ones(1, 2), torch.tensor([2.0]))
    denoiser = exact_gaussian([0.0, 0.0], 1.0).denoiser
    left = {}
    for weight in (0.001, 0.05):
        torch.manual_seed(0)
        spec = DiffusionPDESpec(observations="total", observation_weight=weight, steps=100)
        x = draw(denoiser, spec, shape=(200, 2), constraints={"total": total})
        left[weight] = float((x.sum(1) - 2).abs().mean())
    assert left[0.05] < 0.3 * left[0.001]


def test_something_must_guide():
    with pytest.raises(ValidationError, match="`observations` and `equation` are both null"):
        DiffusionPDESpec()
    assert DiffusionPDESpec(equation="b", observations="a").constraint_names() == ["a", "b"]
    assert DiffusionPDESpec(equation="a").tradeoff_parameter() == "equation_weight"
    assert np.isfinite(DiffusionPDESpec(equation="a").equation_weight)
