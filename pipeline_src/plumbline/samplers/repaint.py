r"""RePaint with azula's sampler: known values are put into the state after each step, which is then redrawn.

A step of DDIM from t to s is followed by setting the known coordinates to alpha_s y + sigma_s e. Between the
`iterations` of a step, the state is noised back to time t, so that the other coordinates adapt to them.

Source: Lugmayr et al. (CVPR 2022), https://arxiv.org/abs/2201.09865.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from plumbline.constraints import LinearEqualityConstraint
from plumbline.samplers import DenoisingSpec, ImposingSpec
from plumbline.spec import key

if TYPE_CHECKING:
    from azula.denoise import Denoiser
    from azula.sample import Sampler

    from plumbline.samplers._denoising import DenoisingContext


class RePaintSpec(ImposingSpec, DenoisingSpec):
    """RePaint: known values are put into each state (Lugmayr et al. 2022, https://arxiv.org/abs/2201.09865).

    The constraint must be of kind `fixed`. It takes `iterations` network evaluations per step.
    """

    kind: Literal["repaint"] = "repaint"
    steps: int = key(ge=1, default=100)
    """Number of time steps (published: 250)."""
    iterations: int = key(ge=1, default=3)
    """Times that a step is taken (published: 10)."""
    eta: float = key(ge=0, le=1, default=1.0)
    """Fraction of the ancestral noise of a step: 0 is deterministic, 1 is DDPM (published: 1)."""

    def requires(self) -> tuple[type, ...]:
        return (LinearEqualityConstraint,)

    def build(self, denoiser: Denoiser, context: DenoisingContext) -> Sampler:
        import torch
        from azula.guidance.repaint import RePaintSampler

        from plumbline.constraints import Fixed

        constraint, state = context.task.constraints[self.constraint], context.task.batch["state"]
        if not isinstance(constraint, Fixed):
            raise ValueError(
                f"`{self.kind}` requires a constraint of kind `fixed`, whose values it puts into the states; "
                f"{self.constraint!r} is a {type(constraint).__name__}."
            )
        _ = context.scale  # the coordinates of the space are those of the data
        known = constraint.project(torch.zeros_like(state, dtype=torch.get_default_dtype()))
        return RePaintSampler(
            denoiser,
            context.space.encode(known),
            constraint.places.view(state.shape[1:]),
            iterations=self.iterations,
            eta=self.eta,
            steps=self.steps,
            silent=True,
        )
