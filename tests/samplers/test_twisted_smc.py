"""Twisted sequential Monte Carlo where the constrained distribution is known.

Denoisers are exact, so that all errors are those of the sampler. Seeds are fixed.
"""

import math

import numpy as np
import pytest
import torch
from azula.denoise import Denoiser, DiracPosterior

from plumbline.constraints import Bounds, Equations, LinearEquality, Polytope, Sphere
from plumbline.constraints.linear_equality import LinearEqualitySpec
from plumbline.datasets import GaussianMixtureSpec, GaussianSpec
from plumbline.linalg.spectral import SpectralCovariance
from plumbline.metrics.conditional_gaussian import gaussian_wasserstein
from plumbline.models import BuildContext
from plumbline.models._spaces import batch_of
from plumbline.models.diffusion.diffusion import EDMScheduleSpec, VPScheduleSpec
from plumbline.models.fitted.exact_mixture import ExactMixtureSpec
from plumbline.models.fitted.fitted_gaussian import FittedGaussianSpec
from plumbline.samplers import Costs, DrawAndRenoiseSpec, SamplingTask, TwistedSMCSpec, draw
from plumbline.samplers._ancestral import ancestral_step
from plumbline.samplers._azula import BareDenoiser
from plumbline.samplers._noise_levels import ratio_at, time_at
from plumbline.samplers._population import effective_sample_size
from plumbline.samplers._posterior import ConditionedPosterior
from plumbline.storage.store import select_split

COUNT = 2000


@pytest.fixture(scope="module")
def mixture():
    spec = GaussianMixtureSpec(parts=1, splits={"train": 5000, "validation": 2, "test": COUNT})
    data = spec.draw_part(0)
    model = ExactMixtureSpec().build(BuildContext(data))
    model.prepare(batch_of(select_split(data, "train")))
    constraint = LinearEqualitySpec(matrix="matrix", target="target").build(data)
    return spec, model, SamplingTask(batch_of(select_split(data, "test")), {"c": constraint})


def energy_distance(x, y):
    x, y = x.double(), y.double()
    return float(2 * torch.cdist(x, y).mean() - torch.pdist(x).mean() - torch.pdist(y).mean())


@pytest.mark.parametrize("covariance", ["data", "isotropic"])
def test_weights_choose_between_modes(mixture, covariance):
    """100 x energy distance to exact draws: measured .06 and .18, exact draws within .1 of zero; conditioning
    without weights has 11 and 35."""
    spec, model, task = mixture
    torch.manual_seed(0)
    found = TwistedSMCSpec(constraint="c", covariance=covariance).sample(model, task)
    truth = torch.as_tensor(spec.draw_exact(4000, 1))
    assert 100 * energy_distance(found.state, truth) < 0.5
    assert float(task.constraints["c"].violation(found.state).max()) < 1e-6
    assert float(found.details["effective_sample_size"].min()) > 0.2
    assert found.costs.network_evaluations == 97 + 9


def test_all_weights_are_equal_for_a_gaussian_and_linear_equalities():
    """The proposal is then exact, but for the first noise; with the covariance K it is .42."""
    values = torch.tensor([4.0, 2.0, 1.0, 0.5, 0.1, 0.01], dtype=torch.float64)
    directions = torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64)).Q
    covariance = (directions * values) @ directions.mT

    class Gaussian(Denoiser):
        schedule = EDMScheduleSpec().build()

        def forward(self, x_t, t):
            alpha, sigma = (value.double() for value in self.schedule(t))
            gain = alpha * values / (alpha**2 * values + sigma**2)
            mean = (x_t.double() @ directions * gain) @ directions.mT
            return DiracPosterior(mean.to(x_t.dtype))

    rows = LinearEquality(torch.randn(3, 6), torch.tensor([3.0, -1.0, 2.0]))
    task = SamplingTask({"state": torch.zeros(500, 6)}, {"c": rows})
    torch.manual_seed(0)
    model = BareDenoiser(Gaussian(), covariance=covariance)
    found = TwistedSMCSpec(constraint="c", steps=48).sample(model, task)
    assert float(found.details["effective_sample_size"].min()) > 0.97


@pytest.mark.parametrize("rank", [5, 2])
def test_a_step_given_an_equality_is_that_of_the_formula(rank):
    """Density ratio and covariance of a proposal against dense matrices; 40,000 draws, with entries of the
    covariance within 6 standard errors."""
    values = torch.tensor([4.0, 1.0, 0.5, 0.5, 0.5], dtype=torch.float64)
    directions = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64)).Q
    low = rank < 5
    covariance = SpectralCovariance(directions[:, :rank], values[:rank], values[rank] if low else None)
    rows = torch.randn(2, 5, dtype=torch.float64)
    equality = LinearEquality(rows, torch.zeros(2)).conditioner(torch.zeros(5), torch.ones(5))
    s, after = torch.tensor(1.5), torch.tensor(0.9)
    step = ancestral_step(ConditionedPosterior(equality, covariance, torch.clone, Costs()), s, after)
    q = float(after / s) ** 2
    posterior = (directions * (values * 2.25 / (values + 2.25))) @ directions.mT
    given = posterior - posterior @ rows.mT @ torch.linalg.solve(rows @ posterior @ rows.mT, rows @ posterior)
    free, kept = (0.81 * (1 - q) * torch.eye(5) + (1 - q) ** 2 * v for v in (posterior, given))
    deviation, moved = torch.randn(2, 30, 5, dtype=torch.float64)
    zero = torch.zeros(5, dtype=torch.float64)
    wanted = torch.distributions.MultivariateNormal(zero, free).log_prob(deviation + moved)
    wanted = wanted - torch.distributions.MultivariateNormal(zero, kept).log_prob(deviation)
    torch.testing.assert_close(step.log_ratio(deviation, moved), wanted, rtol=1e-5, atol=1e-5)
    drawn = step.draw(torch.zeros(40_000, 5))
    found = drawn.mT @ drawn / len(drawn)
    error = ((kept.diagonal()[:, None] * kept.diagonal() + kept**2) / len(drawn)).sqrt()
    assert bool(((found - kept).abs() < 6 * error).all())


def test_a_population_for_each_sample(mixture):
    """Costs are those of all particles of a sample, of which one is kept: 97 x 64 evaluations, then 9."""
    spec, model, task = mixture
    few = SamplingTask({"state": task.batch["state"][:300]}, task.constraints)
    torch.manual_seed(0)
    sampler = TwistedSMCSpec(constraint="c", population="per_sample", particles=64)
    found = sampler.sample(model, few)
    assert found.costs.network_evaluations == 97 * 64 + 9
    # 300 independent draws: the energy distance of as many exact ones is below .02 in 99 of 100 trials.
    assert energy_distance(found.state, torch.as_tensor(spec.draw_exact(4000, 1))) < 0.02


def test_samples_with_targets_of_their_own():
    """Coordinates 1 of N(0, I) given x0 + x1 = k_i have the mean k_i / 2; errors within 6 standard errors."""
    count, particles = 40, 200
    target = torch.linspace(-2, 2, count)[:, None]
    total = LinearEquality(torch.ones(1, 2), target)
    sampler = TwistedSMCSpec(constraint="total", population="per_sample", particles=particles, steps=24)
    torch.manual_seed(0)
    x = torch.stack([drawn(sampler, count, total=total) for _ in range(20)])
    assert float((x.sum(2) - target[:, 0]).abs().max()) < 1e-5
    error = (x[..., 0].mean(0) - target[:, 0] / 2).abs()
    assert float(error.max()) < 6 * math.sqrt(0.5 / 20) and float(error.mean()) < 0.25
    shared = TwistedSMCSpec(constraint="total")
    with pytest.raises(ValueError, match="the targets of 'total' differ"):
        drawn(shared, count, total=total)


class Standard(Denoiser):
    """The exact denoiser of N(0, I)."""

    def __init__(self, schedule=None):
        super().__init__()
        self.schedule = (schedule or EDMScheduleSpec()).build()

    def forward(self, x_t, t, **conditions):
        alpha, sigma = self.schedule(t)
        return DiracPosterior(alpha / (alpha**2 + sigma**2) * x_t)


def drawn(sampler, count, dimension=2, schedule=None, **constraints):
    covariance = torch.eye(dimension)
    return draw(
        Standard(schedule), sampler, shape=(count, dimension), constraints=constraints, covariance=covariance
    )


@pytest.mark.parametrize("schedule", [EDMScheduleSpec(), VPScheduleSpec()])
def test_half_spaces_are_not_piled_up_on(schedule):
    """x0 >= .5 and x1 <= -.3 of N(0, I): both means within 6 standard errors plus .02 (bias of 96 steps), and
    no sample on a wall."""
    half = Polytope(torch.tensor([[-1.0, 0.0], [0.0, 1.0]]), torch.tensor([-0.5, -0.3]))
    torch.manual_seed(0)
    x = drawn(TwistedSMCSpec(constraint="half"), 4000, schedule=schedule, half=half).double()
    phi = lambda z: math.exp(-z * z / 2) / math.sqrt(2 * math.pi)  # noqa: E731
    tail = lambda z: 0.5 * math.erfc(z / math.sqrt(2))  # noqa: E731
    wanted = torch.tensor([phi(0.5) / tail(0.5), -phi(0.3) / tail(0.3)])
    assert float((x.mean(0) - wanted).abs().max()) < 0.02 + 6 * 0.5 / math.sqrt(4000)
    assert float(((x[:, 0] - 0.5).abs() < 1e-6).double().mean()) < 0.002


ELLIPSE = Equations(lambda x: x[:, :1] ** 2 / 4 + x[:, 1:] ** 2 - 1)


@pytest.mark.parametrize(("distribution", "power"), [("conditioning", 1.0), ("restriction", 0.0)])
def test_the_two_distributions_on_an_ellipse(distribution, power):
    """E x0^2 by quadrature in the angle, for N(0, I): .92 and 1.36; within .06 (6 standard errors: .05)."""
    angle = np.linspace(0, 2 * np.pi, 100_001)[:-1]
    x = np.c_[2 * np.cos(angle), np.sin(angle)]
    arc = np.hypot(2 * np.sin(angle), np.cos(angle))
    gradient = np.hypot(x[:, 0] / 2, 2 * x[:, 1])
    weight = np.exp(-(x**2).sum(1) / 2) * arc / gradient**power
    wanted = (weight * x[:, 0] ** 2).sum() / weight.sum()
    torch.manual_seed(0)
    sampler = TwistedSMCSpec(constraint="ellipse", distribution=distribution, steps=192)
    found = drawn(sampler, 6000, ellipse=ELLIPSE)
    assert float(ELLIPSE.residual(found.double()).abs().max()) < 1e-6
    assert float(found[:, 0].double().square().mean()) == pytest.approx(wanted, abs=0.06)


def test_rejuvenation_keeps_the_distribution():
    """The sphere of radius 1.5 in six dimensions given N(0, I) is uniform: E x_i^2 = 1.5^2 / 6, within 6
    standard errors; rejuvenated copies differ."""
    torch.manual_seed(0)
    sampler = TwistedSMCSpec(constraint="sphere", rejuvenation=16, steps=48)
    x = drawn(sampler, 3000, dimension=6, sphere=Sphere(1.5)).double()
    std = math.sqrt(2.25**2 * (3 / 48 - 1 / 36))
    assert float((x.square().mean(0) - 0.375).abs().max()) < 6 * std / math.sqrt(3000)
    assert len(x.unique(dim=0)) == 3000
    with pytest.raises(ValueError, match="the constraint has inequalities: set it to 0"):
        drawn(sampler, 10, dimension=6, sphere=Bounds(lower=0.0))


def test_draw_and_renoise_draws_the_exact_gaussian():
    """W2 to the exact distribution below three times that of exact draws."""
    splits = {"train": 20_000, "validation": 2, "test": COUNT}
    data = GaussianSpec(dimension=6, equalities=2, parts=1, splits=splits).draw_part(0)
    model = FittedGaussianSpec().build(BuildContext(data))
    model.prepare(batch_of(select_split(data, "train")))
    constraint = LinearEqualitySpec(matrix="matrix", target="target").build(data)
    test = select_split(data, "test")
    torch.manual_seed(0)
    found = DrawAndRenoiseSpec(constraint="c", steps=256).sample(
        model, SamplingTask(batch_of(test), {"c": constraint})
    )

    def distance(x):
        moments = data["conditional_mean"].values, data["conditional_covariance"].values
        return gaussian_wasserstein(x.mean(0), np.cov(x.T), *moments)

    floor = distance(test["state"].values.astype(np.float64))
    assert distance(found.state.double().numpy()) < 3 * floor + 0.05


def test_effective_sample_sizes():
    weights = torch.tensor([[0.0, 0.0, 0.0, 0.0], [0.0, -torch.inf, -torch.inf, -torch.inf]])
    torch.testing.assert_close(effective_sample_size(weights), torch.tensor([1.0, 0.25]))


@pytest.mark.parametrize("spec", [EDMScheduleSpec(), VPScheduleSpec()])
@pytest.mark.parametrize("ratio", [0.05, 1.0, 20.0])
def test_times_of_noise_levels(spec, ratio):
    schedule = spec.build()
    time = torch.tensor(time_at(schedule, ratio), dtype=torch.float64)
    assert float(ratio_at(schedule, time)) == pytest.approx(ratio, rel=1e-9)


def test_an_ancestral_step_of_a_gaussian_is_exact_at_any_size():
    """From u ~ N(0, C + s^2 I), a step with the exact denoiser leads to N(0, C + s'^2 I)."""
    values = torch.tensor([0.01, 0.5, 4.0], dtype=torch.float64)
    directions = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64)).Q
    covariance = SpectralCovariance(directions, values)
    total = LinearEquality(torch.ones(1, 3), torch.zeros(1)).conditioner(torch.zeros(3), torch.ones(3))
    posterior = ConditionedPosterior(total, covariance, torch.clone, Costs())
    s, after = torch.tensor(2.0), torch.tensor(0.3)
    fraction = (after / s).double() ** 2
    gain = values / (values + s**2)
    moved = gain + fraction * (1 - gain)
    step = posterior.ancestral(s, after)
    torch.testing.assert_close(moved**2 * (values + s**2) + step.values, values + after.double() ** 2)
    assert step.directions is directions
