r"""Predict, project, renoise (PPR): the state is redrawn around the projected estimate before each step.

With x_t = alpha_t x + sigma_t e, the denoiser m and the projection P, each step repeats M times

    x_t <- alpha_t P(m(x_t)) + sigma_t e,    e fresh,

and then goes to the next level along the deterministic path of the corrected estimate x1 = P(m(x_t)),

    x_s = alpha_s x1 + sigma_s (x_t - alpha_t x1) / sigma_t.

Each repeat is a step of a Gibbs sampler of (x, x_t) with the conditional mean in place of a conditional
draw, so that the samples lose spread. `draw_and_renoise` would put a draw there.

Source: Rochman-Sharabi and Louppe (2026), https://arxiv.org/abs/2601.21033.
"""

from __future__ import annotations

from typing import Literal

from plumbline.samplers._project_renoise import Renoising, RenoisingSpec
from plumbline.spec import key


class PPRSpec(RenoisingSpec):
    """PPR: predict, project, renoise (Rochman-Sharabi, Louppe 2026, https://arxiv.org/abs/2601.21033).

    It takes `steps` times (`repeats` + 1) network evaluations.
    """

    kind: Literal["ppr"] = "ppr"
    repeats: int = key(ge=0, default=2)
    """M: times that a state is renoised at each level."""

    def renoising(self) -> Renoising:
        return Renoising(repeats=self.repeats, repeat_noise="fresh", step_noise="implied")
