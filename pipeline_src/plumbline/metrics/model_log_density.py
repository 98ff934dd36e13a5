r"""How likely samples are under trained diffusion models.

The mean of log q over samples is minus their cross-entropy, which the denoiser of q alone tells
(`models.dual_diffusion.cross_entropy`), with the noise that makes its fine detail not count.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from plumbline.metrics import EvaluationContext, MetricSpec, scalar
from plumbline.spec import key

if TYPE_CHECKING:
    import xarray as xr
    from torch import Tensor

# Noisy samples that a network is asked about together.
CHUNK = 4096


class ModelLogDensitySpec(MetricSpec):
    """Mean log-density of the samples under each of some diffusion models, and under the one that finds them least likely."""

    kind: Literal["model_log_density"] = "model_log_density"
    resampled: ClassVar[bool] = False
    of_every_draw: ClassVar[bool] = True
    under: tuple[str, ...] = Field(min_length=1)
    """Names of the diffusion models; densities are in the units that the first one standardises data to."""
    smoothing: float = key("standard deviations of the first model's data", gt=0, default=0.1)
    """Noise on the samples and on what the models know."""
    draws: int = key("noise levels a sample", ge=1, default=64)
    """Noise levels that each sample is asked about at."""

    def evaluate(self, samples: xr.Dataset, dataset: xr.Dataset, by: EvaluationContext) -> xr.Dataset:
        import torch
        import xarray as xr

        from plumbline.models._spaces import batch_of

        batch = batch_of(samples)
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            means = mean_log_densities(
                {name: by.models[name] for name in self.under}, batch, self.smoothing, self.draws
            )
        found = {
            f"model_log_density_{name}": scalar(mean, f"mean log-density under {name}", "neither", "nats")
            for name, mean in means.items()
        }
        found["least_model_log_density"] = scalar(
            min(means.values()),
            "least of the mean log-densities under the models",
            "higher",
            "nats",
            floor=False,
        )
        return xr.Dataset(found)

    def depends_on(self) -> dict[str, str]:
        return dict.fromkeys(self.under, "denoiser")


def mean_log_densities(
    models: dict[str, Any], batch: dict[str, Tensor], smoothing: float, draws: int
) -> dict[str, float]:
    """The mean log-density, in nats, of samples under each model, with noise on both sides.

    Args:
        models: diffusion models by name; all are asked in the space of the first.
        batch: `state`, the samples (B, *S) in the data's units, and what the models are conditioned on.
        smoothing: s, in the units of that space.
        draws: noise levels a sample.
    """
    import torch

    from plumbline.models.diffusion._shared_space import SharedSpace
    from plumbline.models.distributional._divergences import (
        excess,
        gaussian_cross_entropy,
        gaussian_mean,
        noisy_samples,
    )

    first = next(iter(models.values()))
    space, schedule = first.space_of({}), first.denoiser.schedule
    experts = {name: SharedSpace(model, name) for name, model in models.items()}
    given = {name: expert.conditions(batch) for name, expert in experts.items()}
    z = space.encode(batch["state"].float())
    known = -float(gaussian_cross_entropy(z, smoothing).mean())
    totals = dict.fromkeys(models, 0.0)
    repeated = z.repeat(draws, *(1,) * (z.ndim - 1))
    # One stratification over the noise levels for all samples; chunks are its parts.
    x_t, t, weights = noisy_samples(schedule, repeated, smoothing)
    sample = torch.arange(len(z)).repeat(draws)
    for part in range(0, len(repeated), CHUNK):
        here = slice(part, part + CHUNK)
        noisy, times, clean = x_t[here], t[here], repeated[here]
        gaussian = gaussian_mean(schedule, noisy, times)
        for name, expert in experts.items():
            conditions = {key: one[sample[here]] for key, one in given[name].items()}
            mean = expert.mean(space, schedule, noisy, times, **conditions)
            totals[name] += float((weights[here] * excess(clean, mean, gaussian)).sum())
    return {name: known - total / len(repeated) for name, total in totals.items()}
