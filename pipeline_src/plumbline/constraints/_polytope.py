r"""Polytopes A x <= b.

Let the rows of A have unit length. The point nearest to x is z = x - A^T y, where y >= 0 solves the dual
problem

    min_{y >= 0}  y^T G y / 2 - y^T (A x - b),    G = A A^T.

G is singular if there are more rows than coordinates. The dual is therefore solved by proximal steps. Each
step adds eps |y - y_k|^2 / 2, with eps = `PROXIMAL`, which makes the solution y_{k+1} unique. Two or three
steps usually suffice. The problem of each step is solved by a projected Newton method: rows with y = 0 and a
positive gradient are held at zero, the others take a Newton step with the Cholesky factor of their block of
G + eps I, and negative entries of the result are set to zero. A line search ensures that the dual decreases.
Samples share G but have separate sets of active rows, and they leave the batch when they have converged.
Feasible samples are returned unchanged.

Sources: Bertsekas 1982, projected Newton methods, https://doi.org/10.1137/0320018; Rockafellar 1976, proximal
steps, https://doi.org/10.1137/0314056.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from plumbline.constraints import Constraint, InfeasibleConstraintError
from plumbline.constraints._conditioner import IntervalConditioner
from plumbline.constraints._known import required
from plumbline.constraints._report import CONVERGED, EXHAUSTED, NOT_FINITE, ProjectionReport

if TYPE_CHECKING:
    import xarray as xr

PROXIMAL = 1e-6
# Violation, relative to |x| + |b|, at which a sample counts as feasible; maximum number of proximal steps,
# and of Newton steps in each of them.
FEASIBLE, PROXIMAL_STEPS, NEWTON_STEPS = 1e-12, 60, 100
# Optimality error, relative to |x| + |b|, at which the problem of a proximal step counts as solved.
SOLVED = 1e-14
# Fraction of the predicted decrease in the Armijo condition, and the maximum number of halvings.
ARMIJO, HALVINGS = 1e-4, 30


class Polytope(Constraint):
    """A x <= b for samples (B, *S), flattened.

    Args:
        matrix: A (m, n).
        limit: b, (m,) for all samples or (B, m) per sample; None if `bind` provides it. Infinity means
            no limit.
        limit_variable: name of the dataset's variable that holds b per sample.
        unit: unit of A x.

    Raises:
        ValueError: A is not finite, b has NaN, or their shapes do not fit.
        InfeasibleConstraintError: no point satisfies A x <= b.

    Example:
        >>> import torch
        >>> from plumbline.constraints import Polytope
        >>> half = Polytope(torch.tensor([[1.0, 1.0]]), torch.tensor([1.0]))
        >>> half.project(torch.tensor([[1.0, 1.0], [0.0, 0.0]]))
        tensor([[0.5000, 0.5000],
                [0.0000, 0.0000]])
    """

    convex = True

    def __init__(
        self,
        matrix: Float[Tensor, "m n"],
        limit: Float[Tensor, "*B m"] | None,
        *,
        limit_variable: str | None = None,
        unit: str = "1",
    ) -> None:
        self.matrix = matrix.double()
        self.unit = unit
        self.limit_variable = limit_variable
        if self.matrix.ndim != 2 or not self.matrix.numel() or not bool(torch.isfinite(self.matrix).all()):
            raise ValueError(
                f"`matrix` must hold finite numbers (m, n), found the shape {tuple(matrix.shape)}."
            )
        self.limit = None if limit is None else self._checked(limit)
        if self.limit is not None and self.limit.ndim == 1:
            _require_a_point(self.matrix, self.limit)

    def bind(self, known: Mapping[str, Tensor] | xr.Dataset) -> Polytope:
        """The polytope with the per-sample limits in `known`; itself if it has no such limits."""
        if self.limit_variable is None:
            return self
        return self.with_limit(required(known, self.limit_variable, "limit"))

    def with_limit(self, limit: Float[Tensor, "*B m"]) -> Polytope:
        """The polytope with the same A and another b."""
        bound = copy.copy(self)
        bound.limit = self._checked(limit)
        return bound

    def select(self, which: Int[Tensor, " b"]) -> Polytope:
        if self.limit is None or self.limit.ndim == 1:
            return self
        return self.with_limit(self.limit[which.to(self.limit.device)])

    def residual(self, x: Float[Tensor, "B *S"]) -> Float[Tensor, "B m"]:
        """The positive part of A x - b, in the unit of A x."""
        flat = x.flatten(1).double()
        return (flat @ self._matrix(flat).mT - self._limits(flat)).clamp(min=0).to(x.dtype)

    def violation(self, x: Float[Tensor, "B *S"]) -> Float[Tensor, " B"]:
        """The largest positive part of A x - b over |A| |x| + |b|."""
        flat = x.flatten(1).double()
        size = flat.abs() @ self._matrix(flat).abs().mT + self._limits(flat).abs()
        smallest = torch.finfo(flat.dtype).tiny
        return (self.residual(x).double() / size.clamp(min=smallest)).amax(1).to(x.dtype)

    def project(self, x: Float[Tensor, "B *S"]) -> Float[Tensor, "B *S"]:
        """The nearest point of each sample; a warning counts the samples that did not converge.

        The result is not differentiable with respect to x.
        """
        report = self.project_with_report(x)
        report.warn("polytope")
        return report.points

    @torch.no_grad()
    def project_with_report(self, x: Float[Tensor, "B *S"]) -> ProjectionReport:
        """The nearest points, with Newton steps, violation and outcome of each sample."""
        flat = x.detach().flatten(1).double()
        matrix = self._matrix(flat)
        lengths = matrix.norm(dim=1)
        rows = lengths > 0
        unit = matrix[rows] / lengths[rows, None]
        limits = (self._limits(flat) / torch.where(rows, lengths, 1.0)).expand(len(flat), -1)[:, rows]
        solver = _Dual(unit, limits, flat)
        solver.solve()
        excess = (solver.points @ matrix.mT - self._limits(flat)).clamp(min=0).norm(dim=1)
        stationary = torch.where(solver.reason == CONVERGED, solver.error, torch.nan)
        return ProjectionReport(
            solver.points.view_as(x).to(x.dtype), solver.steps, excess, stationary, solver.reason
        )

    def conditioner(self, shift: Float[Tensor, "*S"], scale: Float[Tensor, "*S"]) -> IntervalConditioner:
        """Conditions Gaussians on A diag(scale) z <= b - A shift.

        Raises:
            ValueError: A has too many rows.
        """
        offset = shift.double().flatten()
        matrix = self._matrix(offset[None])
        limits = self._limits_of(offset) - matrix @ offset
        return IntervalConditioner(
            matrix * scale.double().flatten(), torch.full_like(limits, -torch.inf), limits
        )

    def _checked(self, limit: Tensor) -> Tensor:
        given = limit.double()
        if given.ndim not in (1, 2) or given.shape[-1] != len(self.matrix) or bool(given.isnan().any()):
            raise ValueError(
                f"`limit` must be {len(self.matrix)} numbers, one per row of the matrix, found the shape "
                f"{tuple(limit.shape)}{' with NaN' if bool(given.isnan().any()) else ''}."
            )
        return given

    def _matrix(self, flat: Tensor) -> Tensor:
        if flat.shape[1] != self.matrix.shape[1]:
            raise ValueError(
                f"A has {self.matrix.shape[1]} columns, and samples have {flat.shape[1]} coordinates."
            )
        return self.matrix.to(flat)

    def _limits(self, flat: Tensor) -> Tensor:
        limits = self._limits_of(flat)
        if limits.ndim > 1 and len(limits) != len(flat):
            raise ValueError(f"{len(limits)} limits were given for {len(flat)} samples.")
        return limits

    def _limits_of(self, like: Tensor) -> Tensor:
        if self.limit is None:
            raise ValueError(
                f"this polytope takes `limit` from the variable {self.limit_variable!r}: bind it with `bind`."
            )
        return self.limit.to(like)


class _Dual:
    """The dual problems of a batch, for unit rows A (m, n), limits b (B, m) and starts x (B, n)."""

    def __init__(self, rows: Tensor, limits: Tensor, start: Tensor) -> None:
        self.rows, self.gram = rows, rows @ rows.mT
        self.start = start
        self.excess = start @ rows.mT - limits
        # A row with an infinite limit does not constrain.
        self.excess = torch.where(limits == torch.inf, -torch.inf, self.excess)
        finite = torch.where(torch.isfinite(limits), limits, 0.0)
        self.size = (start.norm(dim=1) + finite.norm(dim=1)).clamp(min=torch.finfo(start.dtype).tiny)
        self.multipliers = torch.zeros_like(self.excess)
        self.points = start.clone()
        self.steps = torch.zeros(len(start), dtype=torch.int64, device=start.device)
        self.reason = torch.full_like(self.steps, CONVERGED)
        self.error = torch.zeros_like(self.size)

    def solve(self) -> None:
        usable = torch.isfinite(self.start).all(1) & ~self.excess.isnan().any(1)
        self.reason[~usable] = NOT_FINITE
        outside = self.excess.amax(1) > FEASIBLE * self.size if self.excess.shape[1] else ~usable
        active = torch.nonzero(usable & outside).squeeze(1)
        for _ in range(PROXIMAL_STEPS):
            if not len(active):
                break
            before = self.multipliers[active]
            after = self._proximal_step(active, before)
            self.multipliers[active] = after
            self.points[active] = self.start[active] - after @ self.rows
            slack = self.excess[active] - after @ self.gram
            # Optimality error of the dual without the proximal term; zero at a solution.
            error = (after - (after + slack).clamp(min=0)).abs().amax(1) / self.size[active]
            self.error[active] = error
            active = active[error > FEASIBLE]
        self.reason[active] = EXHAUSTED

    def _proximal_step(self, active: Tensor, before: Tensor) -> Tensor:
        """The multipliers that minimise the dual plus the proximal term, by a projected Newton method."""
        excess, wanted = self.excess[active], SOLVED * self.size[active]
        # A large finite value instead of minus infinity avoids NaN in products with zero.
        excess = excess.clamp(min=-1e150)
        identity = torch.eye(len(self.gram)).to(self.gram)
        regular = self.gram + PROXIMAL * identity
        y = before.clone()
        live = torch.ones_like(wanted, dtype=torch.bool)
        for _ in range(NEWTON_STEPS):
            gradient = y @ regular - PROXIMAL * before - excess
            optimality = (y - (y - gradient).clamp(min=0)).abs().amax(1)
            live = live & (optimality > wanted)
            if not bool(live.any()):
                break
            self.steps[active[live]] += 1
            near = torch.minimum(optimality, 1e-3 * self.size[active])[:, None]
            free = ~((y <= near) & (gradient > 0))
            both = free[:, :, None] & free[:, None, :]
            factor = torch.linalg.cholesky(torch.where(both, regular, identity))
            newton = torch.cholesky_solve(torch.where(free, gradient, 0.0)[..., None], factor).squeeze(-1)
            direction = torch.where(free, newton, gradient.clamp(max=1e100))
            y = torch.where(live[:, None], self._searched(y, direction, gradient, free, regular), y)
        return y

    def _searched(
        self, y: Tensor, direction: Tensor, gradient: Tensor, free: Tensor, regular: Tensor
    ) -> Tensor:
        """The first halved step, clamped at zero, that decreases the dual enough."""
        length = torch.ones_like(y[:, :1])
        found, taken = y, torch.zeros_like(length, dtype=torch.bool)
        promised = torch.where(free, gradient * direction, 0.0).sum(1, keepdim=True)
        for _ in range(HALVINGS):
            trial = (y - length * direction).clamp(min=0)
            change = trial - y
            fall = (
                -(change * gradient).sum(1, keepdim=True)
                - ((change @ regular) * change).sum(1, keepdim=True) / 2
            )
            cut = torch.where(free, 0.0, -gradient * change).sum(1, keepdim=True)
            rounding = torch.finfo(y.dtype).eps * (change * gradient).abs().sum(1, keepdim=True)
            better = (fall >= ARMIJO * (length * promised + cut) - rounding) & ~taken
            found, taken = torch.where(better, trial, found), taken | better
            if bool(taken.all()):
                break
            length = torch.where(taken, length, length / 2)
        return torch.where(taken, found, trial)


def _require_a_point(matrix: Tensor, limit: Tensor) -> None:
    """Checks by a linear program that some point satisfies A x <= b."""
    from scipy.optimize import linprog

    kept = torch.isfinite(limit)
    if not bool(kept.any()) and not bool((limit == -torch.inf).any()):
        return
    rows, limits = (values.cpu().numpy() for values in (matrix[kept], limit[kept]))
    nothing = np.zeros(rows.shape[1])
    done = linprog(nothing, A_ub=rows, b_ub=limits, bounds=(None, None), method="highs")
    if done.status == 2 or bool((limit == -torch.inf).any()):
        raise InfeasibleConstraintError(
            "no point satisfies A x <= b, as rows contradict each other: raise a limit, or remove a row."
        )
