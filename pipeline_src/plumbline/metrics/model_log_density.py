r"""How likely samples are under trained diffusion models.

For any distribution p and two distributions q and r with the posterior means m_q and m_r, all under noise of the standard
deviation s,

    E_p log q_s - E_p log r_s = int_s^inf rho^-3 E_p [ |x - m_r(x_rho)|^2 - |x - m_q(x_rho)|^2 ] d rho,

the difference of two divergences from p (`models.dual_diffusion.divergence`). With the standard Gaussian for r, whose density and
posterior mean x_rho / (1 + rho^2) are known, this is the mean log-density under a model, with the noise that makes its fine detail
not count.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from plumbline.metrics import Instruments, MetricSpec, scalar
from plumbline.spec import key

if TYPE_CHECKING:
    import xarray as xr
    from torch import Tensor

# Noisy samples that a network is asked about together.
CHUNK = 4096


class ModelLogDensitySpec(MetricSpec):
    """Mean log-density of the samples under each of some diffusion models, and under the one that finds them least likely."""

    kind: Literal["model_log_density"] = "model_log_density"
    under: tuple[str, ...] = Field(min_length=1)
    """Names of the diffusion models; densities are in the units that the first one standardises data to."""
    smoothing: float = key("standard deviations of the first model's data", gt=0, default=0.1)
    """Noise on the samples and on what the models know."""
    draws: int = key("noise levels a sample", ge=1, default=64)
    """Noise levels that each sample is asked about at."""

    def evaluate(self, samples: xr.Dataset, dataset: xr.Dataset, by: Instruments) -> xr.Dataset:
        import torch
        import xarray as xr

        del dataset
        x = torch.as_tensor(samples["state"].values, dtype=torch.float32)
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            means = mean_log_densities(
                {name: by.models[name] for name in self.under}, x, self.smoothing, self.draws
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

    def stands_on(self) -> dict[str, str]:
        return dict.fromkeys(self.under, "denoiser")


def mean_log_densities(models: dict[str, Any], x: Tensor, smoothing: float, draws: int) -> dict[str, float]:
    """The mean log-density, in nats, of samples (B, *S) under each model, with noise on both sides.

    Args:
        models: diffusion models by name; all are asked in the space of the first.
        x: the samples, in the data's units.
        smoothing: s, in the units of that space.
        draws: noise levels a sample.
    """
    from plumbline.models.dual_diffusion.divergence import excess, noisy_samples
    from plumbline.models.spaces.shared import SharedSpace

    first = next(iter(models.values()))
    space, schedule = first.space_of({}), first.denoiser.schedule
    experts = {name: SharedSpace(model, name) for name, model in models.items()}
    z = space.encode(x)
    numbers = z[0].numel()
    variance = 1 + smoothing**2
    # Of the Gaussian, for samples with the noise on them.
    squares = float(z.square().flatten(1).sum(1).mean()) + numbers * smoothing**2
    known = -0.5 * (numbers * math.log(2 * math.pi * variance) + squares / variance)
    totals = dict.fromkeys(models, 0.0)
    repeated = z.repeat(draws, *(1,) * (z.ndim - 1))
    # One stratification over the noise levels for all samples; chunks are its parts.
    x_t, t, weights = noisy_samples(schedule, repeated, smoothing)
    for part in range(0, len(repeated), CHUNK):
        here = slice(part, part + CHUNK)
        noisy, times, clean = x_t[here], t[here], repeated[here]
        alpha, sigma = (c.view(-1, *(1,) * (z.ndim - 1)) for c in schedule(times))
        gaussian = alpha * noisy / (alpha.square() + sigma.square())
        for name, expert in experts.items():
            mean = expert.mean(space, schedule, noisy, times)
            totals[name] += float((weights[here] * excess(clean, mean, gaussian)).sum())
    return {name: known - total / len(repeated) for name, total in totals.items()}
