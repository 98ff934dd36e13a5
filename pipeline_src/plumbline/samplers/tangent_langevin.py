r"""Tangent Langevin dynamics: samples move along the feasible set h(x) = 0, at a small noise level.

Samples of another sampler are projected onto the constraint, and then moved by Langevin steps that stay on
it. In terms of u = x_t / alpha_t at the noise-to-signal ratio s, the score of the noised data is
(D(u, s) - u) / s^2. Steps are preconditioned by M = C + s^2 I, with the covariance C of the training data.
With u = M^{1/2} y and the rows J of the derivative of h in y,

    v = P (eta f + (2 eta)^{1/2} e),    P = I - J^T (J J^T)^{-1} J,    y' = y + v - J^T lambda,    h(y') = 0,

where lambda moves the point back onto the constraint along the normals at y (Zappa, Holmes-Cerfon, Goodman
2018). The drift f = g + grad w has the score g in y and the logarithm w of a weight on the feasible set. For
the two distributions of `twisted_smc`, it is

    conditioning:  w = -log det(J J^T) / 2,
    restriction:   w = -log det(J J^T) / 2 + log det(J_x J_x^T) / 2,

with the derivatives J_x of h in the model's coordinates. Both are constant for linear h. A step is accepted
with the Metropolis-Hastings probability for the density p e^w on the feasible set; the difference of its
logarithms has the trapezoid rule on the score, since a denoiser gives no density:

    (g(y) + g(y')) . (y' - y) / 2 + w(y') - w(y).

Finally the samples are denoised from s to zero, and projected in the metric of C.

The samples follow the noised distribution at s, so that s should be small; but the error of a learned score
grows as s decreases, and steps get smaller. Useful values of `noise` are about .1 to .2. The dynamics is
local: it mends the distribution within a branch of the feasible set, and leaves the weights of branches.

Source: Zappa, Holmes-Cerfon, Goodman 2018, Monte Carlo on manifolds, https://arxiv.org/abs/1702.08446.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from plumbline.constraints import GaussianConditioning, ProjectableConstraint
from plumbline.samplers import DenoisingWrapperSpec, EnforcingSpec
from plumbline.spec import key

if TYPE_CHECKING:
    from collections.abc import Mapping

    from azula.denoise import Denoiser
    from azula.sample import Sampler
    from torch import Tensor

    from plumbline.samplers._denoising import DenoisingContext


class TangentLangevinSpec(EnforcingSpec, DenoisingWrapperSpec):
    """Langevin steps along equations, after the projection of another sampler's samples.

    It takes `steps` + 2 network evaluations more than the sampler that it wraps.
    """

    kind: Literal["tangent_langevin"] = "tangent_langevin"
    steps: int = key(ge=1, default=64)
    """Number of Langevin steps."""
    noise: float = key("standard deviations of the model's space", gt=0, default=0.15)
    """Noise-to-signal ratio at which they are taken."""
    step_size: float = key(gt=0, default=0.1)
    """eta: the step in units of the covariance of the training data."""
    distribution: Literal["conditioning", "restriction"] = key(default="conditioning")
    """The distribution on a curved feasible set, as in `twisted_smc`."""

    def requires(self) -> tuple[type, ...]:
        return (ProjectableConstraint, GaussianConditioning)

    def build(self, denoiser: Denoiser, context: DenoisingContext) -> Sampler:
        """Builds the sampler.

        Raises:
            ValueError: the constraint has inequalities, or its Jacobian is too large.
        """
        from plumbline.samplers._tangent_langevin import TangentLangevin

        base = self.denoising_base()
        return TangentLangevin(
            denoiser,
            context,
            base=base.build(denoiser, context),
            last=base.last,
            constraint=self.constraint,
            steps=self.steps,
            noise=self.noise,
            step_size=self.step_size,
            restricted=self.distribution == "restriction",
        )

    def first(self, sampler: Sampler, z: Tensor, conditions: Mapping[str, object]) -> Tensor:
        return self.denoising_base().first(sampler.base, z, conditions)

    def last(self, sampler: Sampler, z: Tensor, conditions: Mapping[str, object]) -> Tensor:
        return z
