r"""Pseudo-inverse guidance (PGDM) with azula's sampler.

A step of DDIM is followed by

    x_s <- x_s + alpha_s alpha_t (dm / dx_t)^T (P(m) - m),

with the denoiser m. P(m) - m is the pseudo-inverse of A applied to y - A m for an observation y = A x; the
published method replaces it by other inverses where A is not linear. Here P is the projection onto the
constraint, which may be an inequality or curved.

Source: Song et al. (ICLR 2023), https://openreview.net/forum?id=9_gsMA8MRKQ.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from plumbline.constraints import ProjectableConstraint
from plumbline.samplers import DenoisingSpec, ImposingSpec
from plumbline.spec import key

if TYPE_CHECKING:
    from azula.denoise import Denoiser
    from azula.sample import Sampler
    from torch import Tensor

    from plumbline.samplers._denoising import DenoisingContext


class PGDMSpec(ImposingSpec, DenoisingSpec):
    """PGDM: DDIM guided by a pseudo-inverse (Song et al. 2023, https://openreview.net/forum?id=9_gsMA8MRKQ).

    It takes one network evaluation and one backward pass per step.
    """

    kind: Literal["pgdm"] = "pgdm"
    steps: int = key(ge=1, default=100)
    """Number of time steps (published: 20 to 100)."""
    eta: float = key(ge=0, le=1, default=1.0)
    """Fraction of the ancestral noise: 0 is deterministic, 1 is DDPM (published: 1)."""

    def requires(self) -> tuple[type, ...]:
        return (ProjectableConstraint,)

    def differentiates(self) -> bool:
        return True

    def build(self, denoiser: Denoiser, context: DenoisingContext) -> Sampler:
        import torch
        from azula.guidance.pgdm import PGDMSampler

        from plumbline.samplers._azula_guidance import BackwardCounter

        def infeasible_part(z: Tensor) -> Tensor:
            return z - context.projected(self.constraint, z)

        return PGDMSampler(
            BackwardCounter(denoiser, context.costs),
            torch.zeros((), device=context.task.device),
            lambda z: infeasible_part(z.detach()),
            lambda part: part,
            eta=self.eta,
            steps=self.steps,
            silent=True,
        )
