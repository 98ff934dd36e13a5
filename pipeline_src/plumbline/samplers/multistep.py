r"""Adams-Bashforth methods with azula's samplers: several past estimates per step, one evaluation each.

A step integrates the polynomial through the estimates of the last `order` steps. The forms differ in what is
taken for a polynomial, and in which variable:

- `noise`: the noise, in the ratio sigma / alpha (LMS; Zhang, Chen 2023, https://arxiv.org/abs/2204.13902);
- `velocity`: the velocity of the straight path, in sigma / (alpha + sigma): for the schedule `rectified`;
- `exponential_noise`: the noise, in log(sigma / alpha) (DPM-Solver; Lu et al. 2022,
  https://arxiv.org/abs/2206.00927);
- `exponential_data`: the clean estimate, in log(sigma / alpha) (DPM-Solver++; Lu et al. 2022,
  https://arxiv.org/abs/2211.01095).

azula's further form, `REABSampler`, is left out: version 0.11.1 scales the integral of a step by the noise at
its start, where the formula in its documentation has the noise at its end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from plumbline.samplers import DenoisingSpec
from plumbline.spec import key

if TYPE_CHECKING:
    from azula.denoise import Denoiser
    from azula.sample import Sampler

    from plumbline.samplers._denoising import DenoisingContext


class MultistepSpec(DenoisingSpec):
    """An Adams-Bashforth method with azula's samplers. It takes one network evaluation per step.

    It cannot be wrapped by `projected`, since its steps depend on those before.
    """

    kind: Literal["multistep"] = "multistep"
    steps: int = key(ge=1, default=32)
    """Number of time steps."""
    order: int = key("estimates", ge=1, le=4, default=2)
    """Number of estimates that a step uses."""
    form: Literal["noise", "velocity", "exponential_noise", "exponential_data"] = "exponential_data"
    """What is integrated: `velocity` suits the schedule `rectified`, `exponential_data` is DPM-Solver++."""

    def build(self, denoiser: Denoiser, context: DenoisingContext) -> Sampler:
        from azula import sample

        form = {
            "noise": sample.zABSampler,
            "velocity": sample.vABSampler,
            "exponential_noise": sample.zEABSampler,
            "exponential_data": sample.xEABSampler,
        }[self.form]
        return form(denoiser, order=self.order, steps=self.steps, silent=True)

    def is_deterministic(self) -> bool:
        return True
