"""Diffusion models and the fitted Gaussian, compared with closed forms."""

import numpy as np
import pytest
import torch
import xarray as xr
from pydantic import ValidationError

from plumbline.constraints._linear_equality import LinearEquality
from plumbline.models import BuildContext
from plumbline.models._spaces import Standardisation
from plumbline.models.diffusion.diffusion import (
    CosineScheduleSpec,
    DiffusionSpec,
    EDMScheduleSpec,
    VPScheduleSpec,
    VPSDEScheduleSpec,
)
from plumbline.models.fitted.fitted_gaussian import FittedGaussianSpec


def example(n: int, condition: int = 0) -> xr.Dataset:
    data = xr.Dataset({"state": (("sample", "per_feature"), np.zeros((1, n), np.float32))})
    return data.assign(condition=(("sample", "component"), np.zeros((1, condition)))) if condition else data


@pytest.mark.parametrize("scaling", ["per_feature", "global"])
def test_standardisation(scaling):
    x = torch.randn(500, 3, 4) * torch.tensor([1.0, 10.0, 0.1, 5.0]) + 7
    x[:, 0, 0] = 2.0  # does not vary
    space = Standardisation((3, 4), scaling)
    space.fit(x)
    z = space.encode(x)
    torch.testing.assert_close(space.decode(z), x)
    if scaling == "per_feature":
        varying = z.flatten(1)[:, 1:]
        torch.testing.assert_close(varying.mean(0), torch.zeros(11), atol=1e-5, rtol=0)
        torch.testing.assert_close(varying.std(0), torch.ones(11), atol=1e-4, rtol=0)
        assert torch.equal(z[:, 0, 0], torch.zeros(500))
    else:
        assert z.std() == pytest.approx(1.0, abs=1e-4)
        assert space.mean.numel() == 1


@pytest.mark.parametrize("scaling", ["per_feature", "max_abs"])
def test_coordinates_in_units_that_are_orders_apart_keep_their_own_scale(scaling):
    """Energies of 1e6, traces of 1e-4, a constant with rounding errors, and a zero."""
    units = torch.tensor([1e6, 1.0, 1e-4, 0.0, 0.0], dtype=torch.float64)
    x = 5 * units + units * torch.randn(1000, 5, dtype=torch.float64)
    x[:, 3] = 79.0 + 1e-9 * torch.randn(1000)
    space = Standardisation((5,), scaling)
    space.fit(x)
    z = space.encode(x)
    spread = z.std(0)[:3] if scaling == "per_feature" else z.abs().amax(0)[:3]
    torch.testing.assert_close(spread, torch.ones(3, dtype=torch.float64), rtol=1e-3, atol=0)
    assert float(space.scale[3]) == pytest.approx(79.0)
    assert float(space.scale[4]) == float(space.scale.max())


def test_equality_of_standardised_samples_follows_the_scaling():
    """z is feasible where x is, both after a fit and after loading other weights."""
    torch.manual_seed(0)
    equality = LinearEquality(torch.tensor([[1.0, 2.0, -1.0]]), torch.tensor([3.0]))
    data = equality.project(torch.randn(100, 3, dtype=torch.float64) * torch.tensor([1.0, 5.0, 0.1]))
    space, other = Standardisation((3,), "per_feature"), Standardisation((3,), "per_feature")
    assert space.equality(equality).violation(data).max() < 1e-12  # before a fit, x itself
    space.fit(data)
    kept = space.equality(equality)
    assert kept.violation(space.encode(data)).max() < 1e-12
    assert space.equality(equality) is kept
    other.fit(10 * data)
    space.load_state_dict(other.state_dict())
    assert space.equality(equality).violation(space.encode(data)).max() < 1e-12
    assert kept.violation(space.encode(data)).max() > 1e-3


def test_edm_schedule_and_its_training_levels():
    """log sigma at 100,000 stratified times is normal with the requested mean and std."""
    spec = EDMScheduleSpec()
    schedule = spec.build()
    alpha, sigma = schedule(torch.tensor([0.0, 1.0], dtype=torch.float64))
    torch.testing.assert_close(sigma, torch.tensor([0.002, 80.0], dtype=torch.float64))
    assert torch.equal(alpha, torch.ones(2, dtype=torch.float64))
    uniform = (torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000
    _, sigma = schedule(schedule.training_times(uniform))
    assert sigma.log().mean() == pytest.approx(-1.2, abs=1e-3)
    assert sigma.log().std() == pytest.approx(1.2, abs=1e-3)


def test_vp_schedule_preserves_variance():
    alpha, sigma = VPScheduleSpec().build()(torch.linspace(0, 1, 11, dtype=torch.float64))
    torch.testing.assert_close(alpha**2 + sigma**2, torch.full_like(alpha, 1 + 1e-6))


def test_the_published_schedule():
    """Variance preserving, with the times and the rates of Song et al. (2021).

    See https://arxiv.org/abs/2011.13456.
    """
    schedule = VPSDEScheduleSpec().build()
    alpha, sigma = schedule(torch.linspace(0, 1, 11, dtype=torch.float64))
    torch.testing.assert_close(alpha**2 + sigma**2, torch.ones_like(alpha))
    integral = 0.1 * 1e-3 + 19.9 * 1e-6 / 2  # of beta(t) = 0.1 + 19.9 t up to the time 0.001
    assert float(sigma[0] ** 2) == pytest.approx(1 - np.exp(-integral), rel=1e-9)
    assert float(alpha[-1]) == pytest.approx(np.exp(-0.5 * (0.1 + 19.9 / 2)), rel=1e-9)


@pytest.mark.parametrize(
    "spec", [EDMScheduleSpec(), VPScheduleSpec(), VPSDEScheduleSpec(), CosineScheduleSpec()]
)
def test_each_ratio_of_noise_to_signal_has_its_time(spec):
    schedule, times = spec.build(), torch.linspace(0, 1, 101, dtype=torch.float64)
    alpha, sigma = schedule(times)
    torch.testing.assert_close(schedule.time_of(sigma / alpha), times, atol=1e-9, rtol=1e-9)


def test_rates_that_do_not_rise_are_refused():
    with pytest.raises(ValidationError, match=r"`beta_min` must be less than `beta_max`, found 3\.0, 2\.0"):
        VPSDEScheduleSpec(beta_min=3.0, beta_max=2.0)


@pytest.mark.parametrize(
    "schedule", [{"kind": "edm"}, {"kind": "vp"}, {"kind": "vp_sde"}, {"kind": "cosine"}]
)
def test_gaussian_denoiser_is_the_posterior_mean(schedule):
    """Agrees with S (alpha^2 S + sigma^2 I)^-1 alpha (x_t - alpha m) + m on dense matrices."""
    torch.manual_seed(1)
    x = torch.randn(5000, 3) @ torch.tensor([[2.0, 0, 0], [1.0, 1.0, 0], [0.5, 0, 0.3]]) + 4
    model = FittedGaussianSpec(schedule=schedule).build(BuildContext(example(3))).double()
    model.prepare({"state": x.double()})
    z = model.space.encode(x.double())
    mean, cov = z.mean(0), torch.cov(z.mT, correction=0)
    t = torch.tensor(0.4, dtype=torch.float64)
    alpha, sigma = model.denoiser.schedule(t)
    x_t = torch.randn(7, 3, dtype=torch.float64)
    gain = cov @ torch.linalg.inv(alpha**2 * cov + sigma**2 * torch.eye(3, dtype=torch.float64)) * alpha
    torch.testing.assert_close(model.denoiser(x_t, t).mean, mean + (x_t - alpha * mean) @ gain.mT)


def test_gaussian_learns_the_dependence_on_a_condition():
    torch.manual_seed(1)
    c = torch.randn(5000, 2).double()
    x = c @ torch.tensor([[1.0, 0.0, 2.0], [0.0, -1.0, 1.0]]).double() + 0.01 * torch.randn(5000, 3).double()
    model = FittedGaussianSpec(scaling="per_feature").build(BuildContext(example(3, 2))).double()
    model.prepare({"state": x, "condition": c})
    one = {"state": x[:4], "condition": c[:4]}
    conditions = {name: value.double() for name, value in model.conditions(one).items()}
    noise = 80 * torch.randn(4, 3, dtype=torch.float64)
    found = model.space.decode(
        model.denoiser(noise, torch.tensor(1.0, dtype=torch.float64), **conditions).mean
    )
    torch.testing.assert_close(found, x[:4], atol=0.05, rtol=0)


def test_diffusion_learns_a_gaussian():
    """After a short training, the denoiser's relative error is under a tenth at medium noise."""
    torch.manual_seed(0)
    x = torch.randn(4000, 2) @ torch.tensor([[1.0, 0.8], [0.0, 0.6]])
    spec = DiffusionSpec(network={"kind": "mlp", "width": 64, "blocks": 2, "embedding": 16})
    model = spec.build(BuildContext(example(2)))
    exact = FittedGaussianSpec().build(BuildContext(example(2)))
    for m in (model, exact):
        m.prepare({"state": x})
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    for step in range(600):
        for group in optimiser.param_groups:
            group["lr"] = 3e-3 * (1 - step / 600)
        loss, terms = model.loss({"state": x[torch.randint(4000, (256,))]})
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert set(terms) == {"denoising"}
    t = torch.tensor(0.35)
    _, sigma = model.schedule(t)
    x_t = model.space.encode(x[:500]) + sigma * torch.randn(500, 2)
    with torch.no_grad():
        error = (model.denoiser(x_t, t).mean - exact.denoiser(x_t, t).mean).norm()
        assert error / exact.denoiser(x_t, t).mean.norm() < 0.1
