"""An azula sampler that draws several times and keeps, for each sample, the best draw."""

from __future__ import annotations

from typing import Any

import torch
from azula.sample import Sampler
from torch import Tensor

from plumbline.samplers import Problem


class BestOf(Sampler):
    """Wraps a sampler: of `proposals` runs, the result of least constraint distance, sample by sample."""

    def __init__(self, base: Sampler, constraint: str, proposals: int, problem: Problem) -> None:
        super().__init__(base.start, base.stop, base.steps, base.silent, base.dtype, base.device)
        self.base = base
        self.denoiser = base.denoiser
        self.constraint = problem.constraints[constraint]
        self.proposals = proposals
        self.problem = problem

    @torch.no_grad()
    def __call__(self, x: Tensor, **conditions: Any) -> Tensor:
        """The kept draws (B, ...), from the noise `x` and fresh noise of the same law."""
        best, least = self.base(x, **conditions), None
        least = self.constraint.distance(self.problem.decode(best))
        for _ in range(self.proposals - 1):
            draw = self.base(self.base.init(x.shape, dtype=x.dtype, device=x.device), **conditions)
            distance = self.constraint.distance(self.problem.decode(draw))
            better = (distance < least).view(-1, *(1,) * (x.ndim - 1))
            best, least = torch.where(better, draw, best), torch.minimum(distance, least)
        return best
