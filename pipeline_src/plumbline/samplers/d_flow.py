r"""D-Flow: the first noise is optimised through a deterministic sampler, until its sample is feasible.

With the map F from the first noise z to a sample, each sample minimises

    |h(F(z))|^2,

the mean square of the constraint's residual, over z by L-BFGS. Gradients go back through all steps of the
sampler. Gradients lie in the rows of the Jacobian of h(F(z)), so that z moves across the feasible set only.
Where F and h are linear, as for a Gaussian, the optimum is the feasible point nearest to the first z. As z is
isotropic, its distribution is then exactly that of z given h(F(z)) = 0, and the samples follow the exact
conditional distribution. In general the noise is free to leave the normal distribution, and nothing weighs
the parts of the feasible set against each other.

Each sample of a batch has its own loss, memory and step length, so that samples do not affect each other. A
step is halved, or shortened by a quadratic fit, until the loss falls by a share of its slope (Armijo). A
sample whose step fails stays where it is. The published code uses torch's optimiser on the sum of a batch's
losses, with a fixed step length or one for all samples.

Source: Ben-Hamu et al. (ICML 2024), https://arxiv.org/abs/2402.14017; L-BFGS: Nocedal and Wright, Numerical
Optimization, algorithm 7.4, https://doi.org/10.1007/978-0-387-40065-5.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import model_validator

from plumbline.samplers import AnyDenoisingSampler, ConstrainedSpec, DenoisingSpec, Transporting
from plumbline.spec import key

if TYPE_CHECKING:
    from azula.denoise import Denoiser
    from azula.sample import Sampler

    from plumbline.samplers._denoising import DenoisingContext


class DFlowSpec(ConstrainedSpec):
    """D-Flow: the first noise is optimised through a sampler (Ben-Hamu et al. 2024).

    Source: https://arxiv.org/abs/2402.14017. Each evaluation of the loss takes as many network evaluations
    and backward passes as the base; there are at least `iterations` + 1 of them.
    """

    kind: Literal["d_flow"] = "d_flow"
    iterations: int = key("L-BFGS steps", ge=1, default=20)
    """Largest number of steps (published: 5 to 20)."""
    memory: int = key("steps", ge=1, default=10)
    """Number of past steps that the curvature is estimated from."""
    trials: int = key("step lengths", ge=1, default=8)
    """Largest number of step lengths that are tried in a step."""
    base: AnyDenoisingSampler
    """Sampler to optimise through, deterministic: `flow`, `ddim` or `heun` (published: `flow` with `midpoint`
    and 6 steps)."""

    @model_validator(mode="after")
    def _deterministic_base(self) -> DFlowSpec:
        if not (isinstance(self.base, DenoisingSpec) and self.base.is_deterministic()):
            raise ValueError(
                f"`base`: `{self.base.kind}` draws noise of its own, and the first noise alone is optimised: "
                "use `flow`, `heun`, or `ddim` with `eta: 0`"
            )
        return self

    def differentiates(self) -> bool:
        return True

    def requires_of_model(self) -> type:
        return Transporting

    def build(self, denoiser: Denoiser, context: DenoisingContext) -> Sampler:
        from plumbline.samplers._optimised_noise import OptimisedNoise
        from plumbline.samplers._stepped import require_single_steps

        base = self.denoising_base().build(denoiser, context)
        require_single_steps(base, self)
        return OptimisedNoise(
            base,
            self.denoising_base().last,
            constraint=self.constraint,
            iterations=self.iterations,
            memory=self.memory,
            trials=self.trials,
            context=context,
        )
