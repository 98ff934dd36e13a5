r"""Plug-and-play image restoration by diffusion (DiffPIR) with azula's denoiser.

Each estimate m is replaced by the solution of

    argmin_x |A x - y|^2 / noise^2 + lambda (alpha_t / sigma_t)^2 |x - m|^2,

the posterior mean for an isotropic posterior covariance of (sigma_t / alpha_t)^2 / lambda. With little noise
it is the projection of the estimate. The system is solved by `iterations` steps of GMRES or conjugate
gradients.

Source: Zhu et al. (2023), https://arxiv.org/abs/2305.08995.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from plumbline.samplers._observing import ObservingSpec
from plumbline.spec import key

if TYPE_CHECKING:
    from azula.denoise import Denoiser
    from azula.sample import Sampler

    from plumbline.samplers._denoising import DenoisingContext


class DiffPIRSpec(ObservingSpec):
    """DiffPIR: estimates near an observation (Zhu et al. 2023, https://arxiv.org/abs/2305.08995)."""

    kind: Literal["diffpir"] = "diffpir"
    strength: float = key(gt=0, default=10.0)
    """lambda: weight of the estimate (published: 1 to 25)."""
    solver: Literal["gmres", "cg"] = "gmres"
    """Method for the linear system."""
    iterations: int = key(ge=1, default=3)
    """Steps of the solver; one more than the number of equalities solves the system."""

    def build(self, denoiser: Denoiser, context: DenoisingContext) -> Sampler:
        from azula.guidance.diffpir import DiffPIRDenoiser

        from plumbline.samplers._azula_guidance import Reshaped

        y, forward = self.observation(context)
        shape = tuple(context.space.encode(context.task.batch["state"]).shape[1:])
        flat = (math.prod(shape),)
        guided = DiffPIRDenoiser(
            Reshaped(denoiser, inner=shape, outer=flat),
            y,
            lambda z: forward(z.reshape(-1, *shape)),
            self.noise**2,
            lmbda=self.strength,
            solver=self.solver,
            iterations=self.iterations,
        )
        return self.denoising_base().build(Reshaped(guided, inner=flat, outer=shape), context)
