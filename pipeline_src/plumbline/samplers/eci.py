r"""Extrapolation, correction, interpolation (ECI) on the straight path of flow matching.

At time t of the path y_t = t x + (1 - t) e, with the velocity v(y, t) and a noise e,

    extrapolate x1 = y + (1 - t) v(y, t),    correct x1 <- P(x1),    interpolate y = t' x1 + (1 - t') e,

M times at each t, the last time with t' = t + 1/N. The extrapolated point is the clean estimate E[x | y]. The
noise e is drawn once, or again after every R evaluations. The published correction is a closed form for each
constraint, the projection for those that are linear; several constraints are imposed one after the other, and
the last one wins. Here P is the projection onto the constraint; use `jointly` for several.

With noise held (no R), the spread of the samples grows without bound as N grows. See
`plumbline.samplers._project_renoise`.

Source: Cheng et al. (ICLR 2025), algorithm 1, https://arxiv.org/abs/2412.01786.
"""

from __future__ import annotations

from typing import Literal

from plumbline.samplers._project_renoise import Renoising, RenoisingSpec
from plumbline.spec import key


class ECISpec(RenoisingSpec):
    """ECI: extrapolate, correct, interpolate (Cheng et al. 2025, https://arxiv.org/abs/2412.01786).

    It takes `steps` times `mixing` network evaluations.
    """

    kind: Literal["eci"] = "eci"
    mixing: int = key(ge=1, default=1)
    """M: evaluations at each time (published: 5 for initial states, 1 for boundary values)."""
    resample_every: int | None = key("evaluations", ge=1, default=None)
    """R: number of evaluations after which the noise is drawn again; null for never (published: 5 for
    boundary values, null for initial states)."""

    def renoising(self) -> Renoising:
        return Renoising(
            repeats=self.mixing - 1,
            repeat_noise="held",
            step_noise="held",
            resample_every=self.resample_every,
        )
