"""The family of samplers that project each clean estimate and add noise to it again, with all its keys.

`eci`, `pcfm` and `ppr` are members of it with the settings of their publications. The theory is in
`plumbline.samplers._project_renoise`.
"""

from __future__ import annotations

from typing import Literal

from plumbline.samplers._project_renoise import Noise, Renoising, RenoisingSpec
from plumbline.spec import key


class ProjectRenoiseSpec(RenoisingSpec):
    """Each clean estimate is projected onto the constraint, and noise is added to it again.

    `eci`, `pcfm` and `ppr` are members of this family.
    """

    kind: Literal["project_renoise"] = "project_renoise"
    repeats: int = key(ge=0, default=0)
    """Evaluations at each noise level before the step to the next one."""
    repeat_noise: Noise = key(default="fresh")
    """Noise of repeats: `held` for that of the first state, `fresh` for new noise, `implied` for that of the
    state, relative to the corrected estimate."""
    step_noise: Noise = key(default="held")
    """Noise of the step to the next level, as for repeats."""
    resample_every: int | None = key("evaluations", ge=1, default=None)
    """Number of evaluations after which held noise is drawn again; null for never."""

    def renoising(self) -> Renoising:
        return Renoising(
            repeats=self.repeats,
            repeat_noise=self.repeat_noise,
            step_noise=self.step_noise,
            resample_every=self.resample_every,
        )
