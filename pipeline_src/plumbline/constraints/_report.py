"""What became of each sample of a projection."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

logger = logging.getLogger("plumbline.constraints")

REASONS = (
    "converged",
    "a residual or derivative that is not finite",
    "rows of the Jacobian that depend on each other",
    "a residual whose size has a minimum there that is not zero",
    "iterations exhausted, or no step that brings it nearer",
)
"""What became of a sample, by its number in `ProjectionReport.reason`."""
CONVERGED, NOT_FINITE, DEFICIENT, NO_DESCENT, EXHAUSTED = range(5)


@dataclass(frozen=True)
class ProjectionReport:
    """The nearest feasible points, and how they were found.

    Attributes:
        points: the points (B, *S), in the dtype of the start; the start itself where a residual is not
            finite.
        iterations: iterations (B,), each with one Jacobian.
        residual: |h| (B,) at the points before they are rounded to their dtype, in the unit of the residual.
        kkt: |z - x + J^T lambda| (B,), relative to |z - x| or to a millionth of |z|, whichever is larger.
        reason: what became of each sample (B,), a number in `REASONS`.
    """

    points: Float[Tensor, "B *S"]
    iterations: Int[Tensor, " B"]
    residual: Float[Tensor, " B"]
    kkt: Float[Tensor, " B"]
    reason: Int[Tensor, " B"]

    @property
    def converged(self) -> Bool[Tensor, " B"]:
        """Which samples are feasible and the nearest points of their neighbourhood."""
        return self.reason == CONVERGED

    def failures(self) -> dict[str, int]:
        """How many samples did not converge, by the reason."""
        counts = torch.bincount(self.reason, minlength=len(REASONS)).tolist()
        return {REASONS[code]: count for code, count in enumerate(counts) if code != CONVERGED and count}

    def details(self) -> dict[str, Tensor]:
        """What is kept of the projection beside the samples, by name."""
        return {
            "projection_iterations": self.iterations,
            "projection_residual": self.residual,
            "projection_converged": self.converged,
        }

    def warn(self, what: str) -> None:
        """Logs how many samples did not converge, by the reason; nothing where all did."""
        failures = self.failures()
        if failures:
            reasons = "; ".join(f"{count} with {reason}" for reason, count in failures.items())
            logger.warning(
                "%s: the projection of %d of %d samples did not converge: %s.",
                what,
                sum(failures.values()),
                len(self.reason),
                reasons,
            )
