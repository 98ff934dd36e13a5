"""Rejection by best of several: draw freely, keep the draw that is nearest to the constraint.

An equality holds with probability zero, so that exact rejection never ends. With N proposals a sample the
kept ones come from the share 1/N of least distance, which tends to the constrained law as N grows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from plumbline.samplers import ConstrainedSpec, Problem
from plumbline.spec import key

if TYPE_CHECKING:
    from azula.denoise import Denoiser
    from azula.sample import Sampler


class RejectionSpec(ConstrainedSpec):
    """Best of `proposals` free draws by constraint distance."""

    kind: Literal["rejection"] = "rejection"
    proposals: int = key(ge=2, default=8)
    """Free draws for each sample that is kept."""

    def build(self, denoiser: Denoiser, problem: Problem) -> Sampler:
        from plumbline.samplers.wrappers.best_of import BestOf

        return BestOf(
            self.denoising_base().build(denoiser, problem), self.constraint, self.proposals, problem
        )
