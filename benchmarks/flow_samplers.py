"""How near deterministic samplers come to a Gaussian, by number of network evaluations and schedule.

The denoiser is exact, so that a sample is an affine function of the first noise. The images of zero and of
the unit vectors give this function, and so the distribution of the samples, without Monte Carlo.

    python benchmarks/flow_samplers.py
"""

from __future__ import annotations

import math

import numpy as np
import torch

from plumbline.datasets.gaussian import GaussianSpec
from plumbline.metrics.conditional_gaussian import gaussian_wasserstein
from plumbline.models.diffusion.diffusion import EDMScheduleSpec, RectifiedScheduleSpec
from plumbline.models.fitted._fitted_gaussian import FittedGaussian
from plumbline.networks import SampleShape
from plumbline.samplers import DenoisingSpec, FlowSpec, HeunSpec, MultistepSpec, SamplingTask
from plumbline.samplers._denoising import DenoisingContext
from plumbline.samplers._task import Costs

EVALUATIONS = (16, 32, 64, 128)
# A sampler by its number of evaluations.
SAMPLERS = {
    "`flow`, euler (the same as `ddim`)": lambda n: FlowSpec(steps=n),
    "`flow`, midpoint": lambda n: FlowSpec(steps=n // 2, method="midpoint"),
    "`flow`, heun": lambda n: FlowSpec(steps=n // 2, method="heun"),
    "`heun`": lambda n: HeunSpec(steps=n // 2),
    "`multistep`, velocity": lambda n: MultistepSpec(steps=n, form="velocity"),
    "`multistep`, noise": lambda n: MultistepSpec(steps=n, form="noise"),
    "`multistep`, exponential_noise": lambda n: MultistepSpec(steps=n, form="exponential_noise"),
    "`multistep`, exponential_data": lambda n: MultistepSpec(steps=n, form="exponential_data"),
}


def exact_model(
    schedule: RectifiedScheduleSpec | EDMScheduleSpec,
) -> tuple[FittedGaussian, np.ndarray, np.ndarray]:
    """The exact model of the Gaussian of the study `gaussian`, with its mean and covariance."""
    mean, covariance, _, _ = GaussianSpec(splits={"train": 2, "validation": 2, "test": 2}).moments()
    shift, dim = mean.mean(), len(mean)
    scale = math.sqrt(np.mean(np.diag(covariance) + (mean - shift) ** 2))
    model = FittedGaussian(SampleShape((dim,), (False,)), schedule=schedule.build()).double()
    variances, directions = np.linalg.eigh(covariance / scale**2)
    model.space.mean.fill_(float(shift))
    model.space.scale.fill_(float(scale))
    model.denoiser.offset.copy_(torch.as_tensor((mean - shift) / scale))
    model.denoiser.directions.copy_(torch.as_tensor(directions))
    model.denoiser.variances.copy_(torch.as_tensor(variances))
    return model, mean, covariance


def distance(spec: DenoisingSpec, model: FittedGaussian, mean: np.ndarray, covariance: np.ndarray) -> float:
    """The 2-Wasserstein distance of the samples from the Gaussian, in its standard deviations."""
    dim = len(mean)
    context = DenoisingContext(SamplingTask({"state": torch.zeros(dim + 1, dim)}), model.space, Costs())
    sampler = spec.build(model.denoiser, context)
    alpha, sigma = model.denoiser.schedule(torch.ones(()))
    first = torch.sqrt(alpha**2 + sigma**2) * torch.cat([torch.zeros(1, dim), torch.eye(dim)])
    x = context.decode(spec.last(sampler, sampler(first), {})).numpy()
    factor = x[1:] - x[0]
    return gaussian_wasserstein(x[0], factor.T @ factor, mean, covariance) / math.sqrt(np.trace(covariance))


def main() -> None:
    """Prints one table per schedule."""
    torch.set_default_dtype(torch.float64)
    for schedule in (RectifiedScheduleSpec(), EDMScheduleSpec()):
        model, mean, covariance = exact_model(schedule)
        print(f"| schedule `{schedule.kind}`, evaluations | " + " | ".join(map(str, EVALUATIONS)) + " |")
        print("|---|" + "---:|" * len(EVALUATIONS))
        for name, made in SAMPLERS.items():
            found = [distance(made(n), model, mean, covariance) for n in EVALUATIONS]
            print(f"| {name} | " + " | ".join(f"{value:.2g}" for value in found) + " |")
        print()


if __name__ == "__main__":
    main()
