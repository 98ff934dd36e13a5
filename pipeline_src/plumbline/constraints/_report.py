"""The outcome of a projection for each sample."""

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
    "dependent rows of the Jacobian",
    "a nonzero local minimum of the residual norm",
    "iterations exhausted, or no step towards the nearest point",
)
"""Outcomes, indexed by `ProjectionReport.reason`."""
CONVERGED, NOT_FINITE, DEFICIENT, NO_DESCENT, EXHAUSTED = range(5)


@dataclass(frozen=True)
class ProjectionReport:
    """The nearest feasible points, with the outcome of each sample.

    Attributes:
        points: the points (B, *S), in the dtype of the start; the start itself where a residual is not
            finite.
        iterations: number of iterations (B,), each of which evaluates one Jacobian; Newton steps for
            `Polytope`, rounds of Dykstra's method for `Jointly` convex sets.
        residual: |h| (B,) at the points before they are rounded to their dtype, in the unit of the residual.
        kkt: |z - x + J^T lambda| (B,), relative to |z - x| or to a millionth of |z|, whichever is larger; for
            `Polytope` the optimality error of the dual, for `Jointly` convex sets the last change of the
            increments, both relative.
        reason: outcome of each sample (B,), an index into `REASONS`.
    """

    points: Float[Tensor, "B *S"]
    iterations: Int[Tensor, " B"]
    residual: Float[Tensor, " B"]
    kkt: Float[Tensor, " B"]
    reason: Int[Tensor, " B"]

    @property
    def converged(self) -> Bool[Tensor, " B"]:
        """Which samples reached a feasible point that is the nearest in its neighbourhood."""
        return self.reason == CONVERGED

    def failures(self) -> dict[str, int]:
        """Number of samples that did not converge, by reason."""
        counts = torch.bincount(self.reason, minlength=len(REASONS)).tolist()
        return {REASONS[code]: count for code, count in enumerate(counts) if code != CONVERGED and count}

    def details(self) -> dict[str, Tensor]:
        """The values that are stored beside the samples, by name."""
        return {
            "projection_iterations": self.iterations,
            "projection_residual": self.residual,
            "projection_converged": self.converged,
        }

    def warn(self, what: str) -> None:
        """Logs a warning with the number of samples that did not converge, by reason, if there are any."""
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
