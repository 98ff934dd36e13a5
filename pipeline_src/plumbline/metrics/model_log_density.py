r"""Mean log-density of samples under trained diffusion models.

The mean of log q over samples is minus their cross-entropy, which can be computed from the denoiser of q
alone (`plumbline.models.distributional._divergences`; after Song et al., NeurIPS 2021,
https://arxiv.org/abs/2101.09258). Both samples and q are smoothed with noise, so that details below its scale
do not count.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from plumbline.metrics import EvaluationContext, MetricSpec, scalar
from plumbline.models import Denoising
from plumbline.spec import key

if TYPE_CHECKING:
    import xarray as xr
    from torch import Tensor

# Number of noisy samples per forward pass.
CHUNK = 4096


class ModelLogDensitySpec(MetricSpec):
    """Mean log-density of the samples under each of several diffusion models, and the smallest mean."""

    kind: Literal["model_log_density"] = "model_log_density"
    resampled: ClassVar[bool] = False
    of_every_draw: ClassVar[bool] = True
    under: tuple[str, ...] = Field(min_length=1)
    """Names of the diffusion models. Densities are in the standardised units of the first one."""
    smoothing: float = key("standard deviations of the first model's data", gt=0, default=0.1)
    """Standard deviation of the noise that smooths the samples and the models' distributions."""
    draws: int = key("noise levels per sample", ge=1, default=64)
    """Number of noise levels at which each sample is denoised."""

    def evaluate(self, samples: xr.Dataset, dataset: xr.Dataset, by: EvaluationContext) -> xr.Dataset:
        import torch
        import xarray as xr

        from plumbline.models._spaces import batch_of

        batch = {name: tensor.to(by.device) for name, tensor in batch_of(samples).items()}
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            means = mean_log_densities(
                {name: by.model(name, Denoising) for name in self.under}, batch, self.smoothing, self.draws
            )
        found = {
            f"model_log_density_{name}": scalar(mean, f"mean log-density under {name}", "neither", "nats")
            for name, mean in means.items()
        }
        found["least_model_log_density"] = scalar(
            min(means.values()),
            "smallest mean log-density under the models",
            "higher",
            "nats",
            floor=False,
        )
        return xr.Dataset(found)

    def depends_on(self) -> dict[str, type]:
        return dict.fromkeys(self.under, Denoising)


def mean_log_densities(
    models: Mapping[str, Denoising], batch: dict[str, Tensor], smoothing: float, draws: int
) -> dict[str, float]:
    """The mean log-density, in nats, of samples under each model, both smoothed with noise.

    Args:
        models: diffusion models by name; all densities are in the standardised space of the first.
        batch: `state`, the samples (B, *S) in the data's units, and the variables that the models are
            conditioned on.
        smoothing: standard deviation of the smoothing noise, in that space.
        draws: number of noise levels per sample.

    Returns:
        The mean log-density under each model, by name.
    """
    import torch

    from plumbline.models.diffusion._shared_space import SharedSpace
    from plumbline.models.distributional._divergences import (
        excess,
        gaussian_cross_entropy,
        gaussian_mean,
        noisy_samples,
    )

    experts = {name: SharedSpace(model, name) for name, model in models.items()}
    first = next(iter(experts))
    space, schedule = experts[first].standardisation(), models[first].denoiser.schedule
    given = {name: expert.conditions(batch) for name, expert in experts.items()}
    z = space.encode(batch["state"].float())
    known = -float(gaussian_cross_entropy(z, smoothing).mean())
    totals = dict.fromkeys(models, 0.0)
    repeated = z.cpu().repeat(draws, *(1,) * (z.ndim - 1))
    # The noise levels are stratified once over all samples, then processed in chunks. The noise is drawn on
    # the CPU, so that it is the same on every device.
    x_t, t, weights = noisy_samples(schedule, repeated, smoothing)
    sample = torch.arange(len(z)).repeat(draws)
    for part in range(0, len(repeated), CHUNK):
        here = slice(part, part + CHUNK)
        noisy, times, clean, weight, chosen = (
            whole[here].to(z.device) for whole in (x_t, t, repeated, weights, sample)
        )
        gaussian = gaussian_mean(schedule, noisy, times)
        for name, expert in experts.items():
            conditions = {key: _rows(one, chosen) for key, one in given[name].items()}
            mean = expert.mean(space, schedule, noisy, times, **conditions)
            totals[name] += float((weight * excess(clean, mean, gaussian)).sum())
    return {name: known - total / len(repeated) for name, total in totals.items()}


def _rows(conditions: object, chosen: Tensor) -> object:
    """The chosen rows of a tensor, or of each tensor in a mapping: a keyword argument of a denoiser."""
    from torch import Tensor

    if isinstance(conditions, Mapping):
        return {name: _rows(one, chosen) for name, one in conditions.items()}
    assert isinstance(conditions, Tensor)
    return conditions[chosen]
