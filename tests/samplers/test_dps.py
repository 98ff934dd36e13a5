"""Posterior sampling of a Gaussian with a known posterior."""

import numpy as np
import pytest
import torch
import xarray as xr

from plumbline.constraints.sum import SumSpec
from plumbline.models import BuildContext
from plumbline.models.fitted.fitted_gaussian import FittedGaussianSpec
from plumbline.observations.states import StatesSpec
from plumbline.samplers import SamplingTask
from plumbline.samplers.dps import DPSSpec

N, CASES, NOISE = 6, 100, 0.2


@pytest.fixture(scope="module")
def prior():
    """A Gaussian of correlated coordinates of variance one, fitted to many samples."""
    torch.manual_seed(0)
    lag = (torch.arange(N)[:, None] - torch.arange(N)).abs()
    covariance = 0.9 ** lag.double()
    data = (torch.randn(20_000, N, dtype=torch.float64) @ torch.linalg.cholesky(covariance).mT).float()
    example = xr.Dataset({"state": (("sample", "coordinate"), data[:1].numpy())})
    model = FittedGaussianSpec(schedule={"kind": "vp"}).build(BuildContext(example))
    model.prepare({"state": data})
    return model, covariance, data[:CASES]


def posterior(prior, observation):
    """Mean and covariance given y = A x + noise."""
    _, covariance, _ = prior
    rows = torch.eye(N, dtype=torch.float64)[observation.chosen]
    gain = (
        covariance @ rows.mT @ torch.linalg.inv(rows @ covariance @ rows.mT + NOISE**2 * torch.eye(len(rows)))
    )
    return observation.values @ gain.mT, covariance - gain @ rows @ covariance


def test_draws_move_to_the_posterior(prior):
    """Errors under half of the prior's, in observed and in correlated coordinates; misfit of order one."""
    model, _, truth = prior
    observation = StatesSpec(which=(0, 2), noise=NOISE).build({"component": N}).of(truth, np.arange(CASES))
    drawn = []
    for spec in (DPSSpec(steps=200, scale=0.05), None):
        torch.manual_seed(1)
        task = SamplingTask({"state": truth}, observation=observation)
        if spec is None:
            from plumbline.samplers.ddpm import DDPMSpec

            spec = DDPMSpec(steps=200)
        drawn.append(spec.sample(model, task).by_name())
    ours, free = drawn
    mean, covariance = posterior(prior, observation)
    for i in (0, 1, 2):
        error = (ours["state"][:, i].double() - mean[:, i]).square().mean().sqrt()
        from_prior = (free["state"][:, i].double() - mean[:, i]).square().mean().sqrt()
        assert error < 0.5 * from_prior
        # A sample of the exact posterior differs from its mean by one std.
        assert error > 0.3 * covariance[i, i].sqrt()
    assert ours["misfit"].mean() < 4.0
    assert free["misfit"].mean() > 20.0
    assert torch.equal(ours["truth"], truth)


def test_a_constraint_joins_the_misfit(prior):
    model, _, truth = prior
    example = xr.Dataset({"state": (("sample", "coordinate"), truth[:1].numpy())})
    constraint = SumSpec(total=0.0).build(example)
    observation = StatesSpec(which=(0,), noise=NOISE).build({"component": N}).of(truth, np.arange(CASES))
    distances = []
    for name in (None, "sum"):
        torch.manual_seed(1)
        spec = DPSSpec(steps=100, scale=0.02, constraint=name, constraint_weight=5.0)
        task = SamplingTask({"state": truth}, {"sum": constraint}, observation)
        distances.append(float(constraint.distance(spec.sample(model, task).state).mean()))
    assert distances[1] < 0.3 * distances[0]


def test_the_last_noise_is_that_asked_for(prior):
    """The same sample plus noise: its variance within five standard errors of 600 values."""
    model, _, truth = prior
    observation = StatesSpec(which=(0,), noise=NOISE).build({"component": N}).of(truth, np.arange(CASES))
    states = []
    for last in (0.0, 0.5):
        torch.manual_seed(1)
        task = SamplingTask({"state": truth}, observation=observation)
        states.append(DPSSpec(steps=20, last_noise=last).sample(model, task).state)
    added = (states[1] - states[0]) / model.space.scale
    assert float(added.std()) == pytest.approx(0.5, rel=5 / (2 * 600) ** 0.5)
