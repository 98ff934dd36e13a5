"""The exact law of a sampler whose steps are affine, without Monte Carlo.

With an exact denoiser of a Gaussian and a linear equality, the samples are an affine function of all the
standard normal numbers that a sampler draws. A batch in which the sample zero gets zeros, and each other
sample gets one of these numbers as one and the others as zero, gives this function, and so the mean and the
covariance of the samples, up to rounding.
"""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from plumbline.constraints import LinearEquality
from plumbline.datasets.gaussian import GaussianSpec
from plumbline.metrics.conditional_gaussian import gaussian_wasserstein
from plumbline.models.diffusion.diffusion import EDMScheduleSpec
from plumbline.models.fitted._fitted_gaussian import FittedGaussian
from plumbline.networks import SampleShape
from plumbline.samplers import Samples, SamplingTask
from plumbline.samplers._denoising import CountingDenoiser, DenoisingContext
from plumbline.samplers._task import Costs


class Tape:
    """Stands in for `torch.randn_like`: the draw k is nonzero in the samples 1 + k n to (k + 1) n only."""

    def __init__(self):
        self.draws = 0

    def __call__(self, x, **options):
        dim = x[0].numel()
        drawn = torch.zeros_like(x).flatten(1)
        first = 1 + self.draws * dim
        if first < len(x):
            drawn[first : first + dim] = torch.eye(dim, dtype=x.dtype)
        self.draws += 1
        return drawn.view_as(x)


def law_of(spec, model, constraint, monkeypatch):
    """The mean (n,) and covariance (n, n) of the finished samples of a sampler, and its costs."""
    dim = math.prod(model.space.shape)

    def run(count):
        tape, costs = Tape(), Costs()
        known = {} if constraint is None else {"equalities": constraint}
        task = SamplingTask({"state": torch.zeros(count, *model.space.shape)}, known)
        context = DenoisingContext(task, model.space, costs)
        sampler = spec.build(CountingDenoiser(model.denoiser, costs, lambda _: None), context)
        with monkeypatch.context() as patched:
            patched.setattr(torch, "randn_like", tape)
            z = sampler(spec.first(sampler, sampler.init((count, *model.space.shape)), {}))
            x = context.decode(spec.last(sampler, z, {}))
        return spec.finish(Samples(x, {}, costs), task), tape.draws

    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        _, draws = run(1)
        finished, _ = run(1 + draws * dim)
    finally:
        torch.set_default_dtype(before)
    x = finished.state.flatten(1).numpy()
    return x[0], (x[1:] - x[0]).T @ (x[1:] - x[0]), finished.costs


def exact_model(mean, covariance, schedule):
    """The exact denoiser of N(mean, covariance), in double precision, scaled globally."""
    dim = len(mean)
    shift = mean.mean()
    scale = np.sqrt(np.mean(np.diag(covariance) + (mean - shift) ** 2))
    model = FittedGaussian(SampleShape((dim,), (False,)), schedule=schedule).double()
    variances, directions = np.linalg.eigh(covariance / scale**2)
    model.space.mean.fill_(float(shift))
    model.space.scale.fill_(float(scale))
    model.denoiser.offset.copy_(torch.as_tensor((mean - shift) / scale))
    model.denoiser.directions.copy_(torch.as_tensor(directions))
    model.denoiser.variances.copy_(torch.as_tensor(variances))
    return model


@pytest.fixture
def exact_law(monkeypatch):
    """Returns a function (spec, model, constraint) -> mean, covariance and costs of the samples."""
    return lambda spec, model, constraint: law_of(spec, model, constraint, monkeypatch)


@pytest.fixture
def exact_gaussian_model():
    """Returns a function (mean, covariance, schedule) -> exact model in double precision."""
    return exact_model


@pytest.fixture(scope="session")
def gaussian_problem():
    """The eight-dimensional Gaussian of the study `gaussian`, with its exact conditional moments."""
    spec = GaussianSpec(splits={"train": 2, "validation": 2, "test": 2})
    mean, covariance, matrix, target = spec.moments()
    gain = covariance @ matrix.T @ np.linalg.inv(matrix @ covariance @ matrix.T)
    conditional = mean + gain @ (target - matrix @ mean), covariance - gain @ matrix @ covariance
    return SimpleNamespace(
        mean=mean,
        covariance=covariance,
        matrix=matrix,
        target=target,
        equality=LinearEquality(torch.as_tensor(matrix), torch.as_tensor(target)),
        conditional=conditional,
        model=lambda schedule=None: exact_model(mean, covariance, schedule or EDMScheduleSpec().build()),
        distance=lambda m, s: gaussian_wasserstein(m, s, *conditional),
        trace_ratio=lambda s: float(np.trace(s) / np.trace(conditional[1])),
    )
