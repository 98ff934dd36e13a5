r"""The Gaussian approximation of p(x | x_t), conditioned on a constraint.

With the denoiser m = E[x | x_t] and x_t = alpha x + sigma e, the posterior is approximated by

    N(m, V),    V = (C^{-1} + alpha^2 / sigma^2 I)^{-1},

where C is the covariance of the training data (`data`) or the identity (`isotropic`) in the model's space.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from azula.denoise import Denoiser
from jaxtyping import Float, Int
from torch import Tensor

from plumbline.constraints._conditioner import Conditioned, Conditioner, LinearConditioner
from plumbline.linalg.spectral import SpectralCovariance
from plumbline.samplers._denoising import DenoisingContext
from plumbline.samplers._task import Costs

# Smallest noise-to-signal ratio in V, which is zero without noise: only its direction matters there.
SMALLEST_RATIO = 1e-5


@dataclass(frozen=True)
class ConditionedPosterior:
    """Computes the denoiser and its Gaussian posterior given a constraint.

    Attributes:
        conditioner: conditions Gaussians in the model's space on the constraint.
        covariance: C.
        projected: moves points (B, *Z) of the model's space to the nearest feasible ones.
        costs: the costs so far; updated in place.
    """

    conditioner: Conditioner
    covariance: SpectralCovariance
    projected: Callable[[Tensor], Tensor]
    costs: Costs

    @classmethod
    def of(
        cls,
        constraint: str,
        context: DenoisingContext,
        covariance: Literal["data", "isotropic"],
        which: Int[Tensor, " N"] | None = None,
    ) -> ConditionedPosterior:
        """The posterior given the constraint of this name.

        Args:
            constraint: name of the constraint.
            context: the task, the space of the model, and the costs.
            covariance: C: that of the training data, or the identity.
            which: the samples of the batch whose constraints are meant; None for all.

        Raises:
            ValueError: the model does not have what is needed, such as the covariance of its training data.
        """
        if covariance == "data":
            prior = context.covariance
        else:
            dimension = context.task.batch["state"].shape[1:].numel()
            prior = SpectralCovariance.isotropic(
                torch.ones_like(context.scale.flatten()[0].double()), dimension
            )
        projected = partial(context.projected, constraint, which=which)
        return cls(context.conditioner(constraint, which), prior, projected, context.costs)

    def given(self, mean: Float[Tensor, "B *Z"], alpha: Tensor, sigma: Tensor) -> Conditioned:
        """The posterior of denoised points, given the constraint, in double precision and flattened."""
        alpha, sigma = (value.double().reshape(()) for value in (alpha, sigma))
        sigma = torch.maximum(sigma, SMALLEST_RATIO * alpha)
        self.costs.projection_solves += 1
        return self.conditioner(mean.flatten(1).double(), self.covariance.posterior(alpha, sigma))

    def ancestral(self, ratio: Tensor, next_ratio: Tensor) -> SpectralCovariance:
        """The covariance of an ancestral step in terms of u = x_t / alpha_t, without the constraint.

        With q = (s' / s)^2, the step u' | u, x is N(x + q (u - x), s'^2 (1 - q) I). If x | u is N(m, V), the
        covariance of u' | u is s'^2 (1 - q) I + (1 - q)^2 V.

        Args:
            ratio: the noise-to-signal ratio s before the step.
            next_ratio: s' after it.
        """
        s, after = ratio.double(), next_ratio.double()
        fraction = (after / s) ** 2
        return self.covariance.mapped(
            lambda c: after**2 * (1 - fraction) + (1 - fraction) ** 2 * c * s**2 / (c + s**2)
        )

    def draw(self, mean: Float[Tensor, "B *Z"], alpha: Tensor, sigma: Tensor) -> Float[Tensor, "B *Z"]:
        """A feasible draw for each denoised point: exact for linear equalities, projected for others."""
        alpha, sigma = (value.double().reshape(()) for value in (alpha, sigma))
        covariance = self.covariance.posterior(alpha, torch.maximum(sigma, SMALLEST_RATIO * alpha))
        flat = mean.flatten(1).double()
        drawn = flat + covariance.draw(flat.shape)
        if isinstance(self.conditioner, LinearConditioner):
            self.costs.projection_solves += 1
            return self.conditioner(drawn, covariance).mean.view_as(mean).to(mean.dtype)
        return self.projected(drawn.view_as(mean)).to(mean.dtype)

    def mean(self, denoiser: Denoiser, x_t: Tensor, t: Tensor, **conditions: object) -> Tensor:
        """The mean of x given x_t (B, *Z) and the constraint."""
        mean = denoiser(x_t, t, **conditions).mean
        return self.given(mean, *denoiser.schedule(t)).mean.view_as(mean).to(mean.dtype)
