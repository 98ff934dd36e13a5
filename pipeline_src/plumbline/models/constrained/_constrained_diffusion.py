r"""A diffusion model whose denoiser obeys A x = k.

If all data satisfies A x = k, so does E[x | x_t] at every noise level: constraining the denoised estimate
loses nothing, and the noisy state needs no constraint. The backbone gives a mean and a variance for each
coordinate of the clean sample,

    m = c_skip x_t + c_out F,    s = c_out^2 (floor + softplus(V)),
    c_out^2 = sigma^2 / (alpha^2 + sigma^2),

and a likelihood restricts N(m, diag(s)) to the feasible set (Li et al. 2025,
https://arxiv.org/abs/2502.05416). Samplers use the mean of the result. With equal variances, conditioning is
the Euclidean projection of m; with learned variances, uncertain coordinates are corrected more. The training
objective is in units of c_out, which weights squared errors by the usual (alpha^2 + sigma^2) / sigma^2.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import replace

import torch
from azula.denoise import Denoiser, DiracPosterior
from azula.noise import Schedule
from torch import Tensor, nn

from plumbline.constraints import LinearEqualityConstraint
from plumbline.distributions.likelihoods import LikelihoodSpec
from plumbline.distributions.objectives import ObjectiveSpec
from plumbline.models._outputs import FeasibleOutput
from plumbline.models._preparing import PreparedInBlocks, SampleBlock
from plumbline.models._spaces import Scaling, Standardisation, StandardisedCondition
from plumbline.models.diffusion._schedules import TrainedSchedule, stratified_times
from plumbline.networks import SampleShape


class ConstrainedDenoiser(Denoiser):
    """The denoiser whose posterior mean is that of the constrained distribution, in the scaled space.

    Besides the backbone's condition it takes `known`: the variables of the batch, which hold the constraint's
    targets.

    Args:
        backbone: the network, with two outputs per coordinate.
        schedule: the noise schedule.
        output: the constrained output.
        initial_std: standard deviation at initialisation, in units of c_out.
        min_std: lower bound of that standard deviation.
    """

    def __init__(
        self,
        backbone: nn.Module,
        schedule: Schedule,
        output: FeasibleOutput,
        *,
        initial_std: float,
        min_std: float,
    ) -> None:
        super().__init__()
        self.backbone, self.schedule, self.output = backbone, schedule, output
        self.floor = min_std**2
        # softplus^{-1} of the variance at initialisation.
        self.start = math.log(math.expm1(initial_std**2))

    def forward(
        self, x_t: Tensor, t: Tensor, known: dict[str, Tensor], condition: Tensor | None = None
    ) -> DiracPosterior:
        """The posterior mean, in the shape of `x_t` (B, *S)."""
        mean, variance = self.mean_and_variance(x_t, t, condition)
        return DiracPosterior(self.output.distribution(mean, variance, known).mean.view_as(x_t))

    def mean_and_variance(
        self, x_t: Tensor, t: Tensor, condition: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Mean and variance of the clean sample before the constraint, (B, n)."""
        alpha, sigma = (s.reshape(-1, 1).to(x_t) for s in self.schedule(t))
        total = alpha**2 + sigma**2
        out = sigma * total.rsqrt()
        given = {} if condition is None else {"condition": condition}
        level = torch.log(sigma / alpha).reshape_as(t)
        flat = x_t.flatten(1)
        first, second = (
            self.backbone((flat * total.rsqrt()).view_as(x_t), level, **given).flatten(2).unbind(1)
        )
        mean = alpha / total * flat + out * first
        variance = out**2 * (self.floor + nn.functional.softplus(self.start + second))
        return mean, variance


class ConstrainedDiffusion(PreparedInBlocks, nn.Module):
    """A diffusion model of feasible samples (B, *S) (Li et al. 2025, https://arxiv.org/abs/2502.05416).

    It takes the dataset's condition where there is one.

    Args:
        sample: the shape of samples.
        network: builds the backbone, which returns two tensors of that shape.
        likelihood: turns mean and variance into a distribution.
        objective: the loss of the distribution, given the true state.
        schedule: the noise schedule, with the distribution of times in training.
        scaling: how samples are standardised.
        constraint: the equality, or None.
        initial_std: standard deviation at initialisation, in units of c_out.
        min_std: lower bound of that standard deviation.
    """

    def __init__(
        self,
        sample: SampleShape,
        *,
        network: Callable[[SampleShape], nn.Module],
        likelihood: LikelihoodSpec,
        objective: ObjectiveSpec,
        schedule: TrainedSchedule,
        scaling: Scaling,
        constraint: LinearEqualityConstraint | None,
        initial_std: float = 1.0,
        min_std: float = 1e-3,
    ) -> None:
        super().__init__()
        self.objective = objective
        self.condition = StandardisedCondition.of_vector(sample)
        self.schedule = schedule
        self.output = FeasibleOutput(likelihood, sample.shape, scaling=scaling, constraint=constraint)
        both = replace(sample, outputs=2)
        self.denoiser = ConstrainedDenoiser(
            network(both),
            schedule,
            self.output,
            initial_std=initial_std,
            min_std=min_std,
        )

    def prepare_in_blocks(self, blocks: Iterable[SampleBlock]) -> None:
        """Fits the standardisation of samples and conditions."""
        self.output.fit_blocks(block["state"] for block in blocks)
        self.condition.fit_blocks(blocks)

    def space_of(self, batch: dict[str, Tensor]) -> Standardisation:
        """The scaled space."""
        return self.output.space

    def conditions(self, batch: dict[str, Tensor]) -> dict[str, object]:
        """The denoiser's keyword arguments for a batch."""
        return {"known": batch, **self.condition.arguments(batch)}

    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The objective per coordinate for the clean sample, in units of c_out."""
        z = self.output.space.encode(batch["state"])
        times = stratified_times(self.schedule, len(z), z)
        alpha, sigma = (s.view(-1, *(1,) * (z.ndim - 1)) for s in self.schedule(times))
        x_t = alpha * z + sigma * torch.randn_like(z)
        mean, variance = self.denoiser.mean_and_variance(x_t, times, **self.condition.arguments(batch))
        each = self.objective.loss(self.output.distribution(mean, variance, batch), z.flatten(1))
        unit = self.objective.power()
        weight = ((alpha**2 + sigma**2) / sigma**2).flatten() ** (unit / 2)
        loss = (weight * each).mean() / math.prod(z.shape[1:])
        return loss, {"objective": loss.detach()}
