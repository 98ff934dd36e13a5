"""Every sampler on a Gaussian whose distribution given A x = k is known exactly.

The denoiser is the exact one of the unconditional distribution, so that all errors are those of the samplers.
Seeds are fixed; the floor, the distance of equally many exact samples, is measured as well.
"""

import numpy as np
import pytest
import torch
from azula.denoise import Denoiser, DiracPosterior

from plumbline.constraints import LinearEquality
from plumbline.constraints.linear_equality import LinearEqualitySpec
from plumbline.datasets.gaussian import GaussianSpec
from plumbline.metrics.conditional_gaussian import gaussian_wasserstein
from plumbline.models import BuildContext
from plumbline.models._spaces import batch_of
from plumbline.models.diffusion.diffusion import EDMScheduleSpec, VPSDEScheduleSpec
from plumbline.models.fitted.fitted_gaussian import FittedGaussianSpec
from plumbline.samplers import ConditionedSpec, HeunSpec, SamplerSpec, SamplingTask
from plumbline.samplers.euler_maruyama import EulerMaruyamaSpec, coefficients
from plumbline.spec import kinds
from plumbline.storage.store import select_split

COUNT = 2000
HEUN = {"kind": "heun", "steps": 64}


@pytest.fixture(scope="module")
def data():
    splits = {"train": 40_000, "validation": 2, "test": COUNT}
    return GaussianSpec(dimension=6, equalities=2, parts=1, splits=splits).draw_part(0)


@pytest.fixture(scope="module")
def model(data):
    built = FittedGaussianSpec().build(BuildContext(data))
    built.prepare(batch_of(select_split(data, "train")))
    return built


def sampled(data, model, **values):
    torch.manual_seed(5)
    constraint = LinearEqualitySpec(matrix="matrix", target="target").build(data)
    spec = kinds(SamplerSpec)[values["kind"]].model_validate(values)
    task = SamplingTask(batch_of(select_split(data, "test")), {"equalities": constraint})
    drawn = spec.sample(model, task)
    return drawn.state, constraint, drawn.costs


def distance_to_truth(data, x):
    x = np.asarray(x, dtype=np.float64)
    mean, covariance = data["conditional_mean"].values, data["conditional_covariance"].values
    return gaussian_wasserstein(x.mean(0), np.cov(x.T), mean, covariance)


@pytest.fixture(scope="module")
def floor(data):
    return distance_to_truth(data, select_split(data, "test")["state"].values)


@pytest.fixture(scope="module")
def unconstrained(data, model):
    return distance_to_truth(data, sampled(data, model, **HEUN)[0])


@pytest.mark.parametrize("kind", ["ddpm", "ddim", "heun"])
def test_plain_samplers_draw_the_free_law(data, model, kind):
    """Mean and covariance of 2,000 samples agree with the training data.

    The Wasserstein distance is within 0.3 at scales up to 3, about three times that of exact samples.
    """
    x, _, costs = sampled(data, model, kind=kind, steps=128)
    free = select_split(data, "train")["state"].values.astype(np.float64)
    x = x.double().numpy()
    assert gaussian_wasserstein(x.mean(0), np.cov(x.T), free.mean(0), np.cov(free.T)) < 0.3
    assert costs.network_evaluations == (257 if kind == "heun" else 129)
    assert costs.projection_solves == costs.backward_passes == 0


def test_euler_maruyama_draws_the_free_law(data):
    """As for the plain samplers above, on the schedule of its equation.

    The last state is not evaluated again.
    """
    model = FittedGaussianSpec(schedule={"kind": "vp_sde"}).build(BuildContext(data))
    model.prepare(batch_of(select_split(data, "train")))
    x, _, costs = sampled(data, model, kind="euler_maruyama", steps=1000)
    free = select_split(data, "train")["state"].values.astype(np.float64)
    x = x.double().numpy()
    assert gaussian_wasserstein(x.mean(0), np.cov(x.T), free.mean(0), np.cov(free.T)) < 0.3
    assert costs.network_evaluations == 1000


@pytest.mark.parametrize(("steps", "left"), [(1000, 0.0013), (500, 0.022), (250, 0.095)])
def test_noise_that_euler_maruyama_leaves_on_a_point(steps, left):
    """With the exact denoiser of one point, the std follows the recursion of the published scheme."""

    class Point(Denoiser):
        schedule = VPSDEScheduleSpec().build()

        def forward(self, x_t, t):
            return DiracPosterior(mean=torch.zeros_like(x_t))

    torch.manual_seed(0)
    sampler = EulerMaruyamaSpec(steps=steps).build(Point(), None)
    x = sampler(sampler.init((20_000,)).double())
    # The std of 20,000 normal values has a standard error of 0.5%; the expected values have two digits.
    assert float(x.std()) == pytest.approx(left, rel=0.06)


@pytest.mark.parametrize("schedule", [EDMScheduleSpec(), VPSDEScheduleSpec()])
def test_coefficients_of_the_noising_equation(schedule):
    """Agree with closed forms: drift -beta / 2 and g^2 = beta; or no drift and the slope of sigma^2."""
    t = torch.tensor(0.3, dtype=torch.float64)
    drift, diffusion = coefficients(schedule.build(), t)
    if isinstance(schedule, EDMScheduleSpec):
        low, high = 0.002 ** (1 / 7), 80 ** (1 / 7)
        expected = (0.0, 14 * (high - low) * (low + 0.3 * (high - low)) ** 13)
    else:
        beta = (0.1 + 19.9 * (0.001 + 0.3 * 0.999)) * 0.999  # the schedule's own time is scaled by .999
        expected = (-beta / 2, beta)
    assert (float(drift), float(diffusion)) == pytest.approx(expected)


def test_conditioning_with_the_exact_covariance_draws_the_exact_law(data, model, floor):
    x, constraint, costs = sampled(
        data,
        model,
        kind="conditioned",
        covariance="tweedie",
        shrinkage=0.0,
        constraint="equalities",
        base=HEUN,
    )
    assert (constraint.violation(x) < 1e-6).all()
    assert distance_to_truth(data, x) < floor + 0.12
    assert costs.backward_passes == 2 * 130


@pytest.mark.parametrize("schedule", [EDMScheduleSpec(), VPSDEScheduleSpec()], ids=lambda one: one.kind)
def test_conditioning_does_not_lose_the_mean_in_the_first_noise(exact_gaussian_model, exact_law, schedule):
    """Two of 64 coordinates hold the variance, and their sum is given, four stds from its mean.

    The means of the samples are within 1e-3 stds. From noise alone they are .09 and .05 off.
    """
    variances = np.full(64, 0.01)
    variances[:2] = 40.0, 20.0
    model = exact_gaussian_model(np.zeros(64), np.diag(variances), schedule.build())
    model.space.data_covariance.set(model.denoiser.covariance())
    target = 4 * np.sqrt(60.0)
    total = LinearEquality(torch.eye(64)[:2].sum(0)[None], torch.tensor([target]))
    spec = ConditionedSpec(constraint="equalities", base=HeunSpec(steps=64))
    mean, _, _ = exact_law(spec, model, total)
    wanted = np.zeros(64)
    wanted[:2] = np.array([40.0, 20.0]) / 60 * target
    np.testing.assert_allclose(mean, wanted, rtol=0, atol=1e-3 * np.sqrt(40 * 20 / 60))


@pytest.mark.parametrize("kind", ["conditioned", "projected", "final_projection"])
def test_exact_samplers_are_feasible_and_nearer_than_none(data, model, unconstrained, kind):
    x, constraint, costs = sampled(data, model, kind=kind, constraint="equalities", base=HEUN)
    assert (constraint.violation(x) < 1e-6).all()
    assert distance_to_truth(data, x) < unconstrained
    assert costs.projection_solves == {"conditioned": 131, "projected": 65, "final_projection": 1}[kind]


def test_projecting_in_the_metric_of_the_data_draws_the_exact_distribution(data, model, floor):
    keys = {"kind": "final_projection", "constraint": "equalities", "base": HEUN}
    x, constraint, costs = sampled(data, model, metric="data", **keys)
    assert (constraint.violation(x) < 1e-6).all()
    assert distance_to_truth(data, x) < floor + 0.12
    assert costs.projection_solves == 2


def test_states_of_much_noise_are_left_alone(data, model):
    """Projected are those of EDM's 64 levels (80 to .002, rho 7) below one std, and the finished samples."""
    keys = {"kind": "projected", "constraint": "equalities", "base": HEUN}
    x, constraint, costs = sampled(data, model, noise_below=1.0, **keys)
    assert (constraint.violation(x) < 1e-6).all()
    low, high = 0.002 ** (1 / 7), 80 ** (1 / 7)
    levels = (high + torch.linspace(0, 1, 65)[1:] * (low - high)) ** 7
    assert costs.projection_solves == int((levels <= 1).sum()) + 1


def test_guidance_and_the_best_of_n_come_nearer(data, model):
    free, constraint, _ = sampled(data, model, **HEUN)
    guided, _, costs = sampled(data, model, kind="guided", strength=0.5, constraint="equalities", base=HEUN)
    assert constraint.distance(guided).mean() < 0.3 * constraint.distance(free).mean()
    assert costs.backward_passes == 129
    best, _, costs = sampled(data, model, kind="best_of_n", draws=8, constraint="equalities", base=HEUN)
    assert constraint.distance(best).mean() < 0.5 * constraint.distance(free).mean()
    assert costs.network_evaluations == 8 * 129


def test_samplers_compose(data, model):
    guided = {"kind": "guided", "strength": 0.5, "constraint": "equalities", "base": HEUN}
    x, constraint, costs = sampled(data, model, kind="final_projection", constraint="equalities", base=guided)
    assert (constraint.violation(x) < 1e-6).all()
    assert costs.backward_passes == 129
    assert costs.projection_solves == 1


def test_a_seed_decides_the_draw(data, model):
    first, _, _ = sampled(data, model, kind="ddpm", steps=8)
    again, _, _ = sampled(data, model, kind="ddpm", steps=8)
    assert torch.equal(first, again)
