"""A denoiser whose posterior mean is corrected before the sampler sees it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from azula.denoise import Denoiser, DiracPosterior
from torch import Tensor

from plumbline.samplers import Problem


class CorrectedDenoiser(Denoiser):
    """Wraps a denoiser: its mean becomes `correction(denoiser, x_t, t, problem, **conditions)`."""

    def __init__(self, denoiser: Denoiser, correction: Callable[..., Tensor], problem: Problem) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.schedule = denoiser.schedule
        self.correction = correction
        self.problem = problem

    def forward(self, x_t: Tensor, t: Tensor, **conditions: Any) -> DiracPosterior:
        """The posterior with the corrected mean, of the shape of `x_t` (B, ...)."""
        return DiracPosterior(self.correction(self.denoiser, x_t, t, self.problem, **conditions))
