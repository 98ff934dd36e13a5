r"""Moment matching posterior sampling (MMPS) with azula's denoiser.

For an observation y = A x + noise, the posterior mean given x_t and y is approximated by

    m + V A^T (noise^2 I + A V A^T)^{-1} (y - A m),    V = (sigma_t^2 / alpha_t) dm / dx_t,

with the denoiser m and the exact posterior covariance V of an exact denoiser. The system is solved by
`iterations` steps of GMRES or conjugate gradients, each with one backward pass. With as many iterations as
equalities it is solved exactly: for an exact denoiser of a Gaussian the samples follow the exact conditional
distribution. The derivative of a learned denoiser is inexact where the noise is large; `conditioned` with the
covariance of the data does not use it.

Source: Rozet et al. (NeurIPS 2024), https://arxiv.org/abs/2405.13712.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from plumbline.samplers._observing import ObservingSpec
from plumbline.spec import key

if TYPE_CHECKING:
    from azula.denoise import Denoiser
    from azula.sample import Sampler

    from plumbline.samplers._denoising import DenoisingContext


class MMPSSpec(ObservingSpec):
    """MMPS: estimates given an observation (Rozet et al. 2024, https://arxiv.org/abs/2405.13712).

    It takes `iterations` + 1 backward passes per network evaluation.
    """

    kind: Literal["mmps"] = "mmps"
    solver: Literal["gmres", "cg"] = "gmres"
    """Method for the linear system."""
    iterations: int = key(ge=1, default=3)
    """Steps of the solver."""

    def differentiates(self) -> bool:
        return True

    def build(self, denoiser: Denoiser, context: DenoisingContext) -> Sampler:
        from azula.guidance.mmps import MMPSDenoiser
        from azula.linalg.covariance import IsotropicCovariance

        from plumbline.samplers._azula_guidance import BackwardCounter

        y, forward = self.observation(context)
        guided = MMPSDenoiser(
            BackwardCounter(denoiser, context.costs),
            y,
            forward,
            IsotropicCovariance(self.noise**2),
            solver=self.solver,
            iterations=self.iterations,
        )
        return self.denoising_base().build(guided, context)
