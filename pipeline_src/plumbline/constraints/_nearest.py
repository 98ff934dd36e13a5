r"""The point of {z : h(z) = 0} nearest to each start x of a batch, by Gauss-Newton and SQP steps.

**Feasibility.** Starting from z = x, the Gauss-Newton step

    d = -J^T (J J^T)^{-1} h(z)

is the shortest step that solves the linearised equations. If it does not reduce the residual enough, the
system is damped as in the Levenberg-Marquardt method, J J^T + mu D^2, with increasing mu.

**The nearest point.** The first-order (Karush-Kuhn-Tucker) conditions are

    z - x + J^T lambda = 0,    h(z) = 0.

At a point z, lambda is the least-squares estimate, lambda = -(J J^T)^{-1} J (z - x). The residual of the
first condition is then P (z - x), where P = I - J^T (J J^T)^{-1} J is the orthogonal projector onto the
tangent space. A step of sequential quadratic programming (SQP) minimises the second-order model of the
Lagrangian subject to the linearised equations:

    d = n + t,    n = -J^T (J J^T)^{-1} h,    P (I + sum_j lambda_j h_j'') P t = -P (z - x).

Projected conjugate gradients solve the second system, to a relative residual that decreases with the error,
so that the order of convergence is two. Far from the solution they may meet a direction of negative
curvature; they then stop before it, and t is still a descent direction. A second-order correction,
-J^T (J J^T)^{-1} (h(z + a d) - (1 - a) h(z)), removes the error of the linearised equations. A line search
halves a until the merit function

    |z - x|^2 / 2 + nu |D^{-1} h(z)|,    nu = 2 |D lambda|,

decreases. D holds the lengths of the rows of J, so no criterion depends on the units of the residual.

The result is a local minimum in the basin of the start. Each sample has its own step lengths and dampings,
and samples that have converged are removed from the batch. There is no loop over samples.

Sources: Nocedal and Wright, Numerical Optimization, 2nd edition, chapters 7, 10, 16 and 18,
https://doi.org/10.1007/978-0-387-40065-5. Utkarsh et al. 2025 (PCFM), https://arxiv.org/abs/2506.04171,
project flows by Gauss-Newton steps onto such equations.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from plumbline.constraints._linearisation import (
    DenseLinearisation,
    Linearisation,
    MatrixFreeLinearisation,
)
from plumbline.constraints._report import (
    CONVERGED,
    DEFICIENT,
    EXHAUSTED,
    NO_DESCENT,
    NOT_FINITE,
    ProjectionReport,
)

# Size of the normal step, relative to the point, at which a point counts as feasible, and relative size of
# the tangential gradient at which it counts as the nearest.
FEASIBLE, NEAREST = 1e-10, 1e-9
# Smallest distance to the start, relative to the size of the point, that the tangential gradient is divided
# by.
SMALL_DISTANCE = 1e-6
# First-order distance to each equation, relative to the size of the point, that counts as rounding error.
ROUNDING = 1e-14
# Fraction of the residual that a linear step must remove for the linearised equations to be consistent.
CONSISTENT = 0.9
# Fraction by which an accepted step must reduce the residual, and the dampings that are tried in turn.
DECREASE = 1e-4
DAMPINGS = (0.0, *(0.25 * 4.0**k for k in range(9)))
# Fraction of the predicted decrease in the Armijo condition, and the maximum number of halvings.
ARMIJO, HALVINGS = 1e-4, 24
# Maximum number of projected conjugate gradient iterations, and the curvature below which they stop.
MOST_TANGENTIAL, LEAST_CURVATURE = 100, 1e-8
# Iterations reserved for making points feasible again.
RESERVE = 5
# Largest number of rows and of entries of a sample's Jacobian for which it is formed; largest number of
# Jacobian entries in memory at once.
MOST_ROWS, MOST_NUMBERS, TOGETHER = 256, 2**19, 2**24

Function = Callable[[Tensor, Tensor], Tensor]
"""h: maps points (b, n) and the indices of these samples in the batch (b,) to residuals (b, m)."""


class NearestPoint:
    """Projects a batch of starts onto h = 0.

    Args:
        function: h; it is called with any part of the batch.
        start: x (B, n), in double precision.
        rows: m.
        iterations: maximum number of iterations per sample.
        matrix_free: whether to solve without forming the Jacobian.
    """

    def __init__(
        self,
        function: Function,
        start: Float[Tensor, "B n"],
        *,
        rows: int,
        iterations: int,
        matrix_free: bool,
    ) -> None:
        self.function = function
        self.start = start
        self.freedom = start.shape[1] - rows
        self.limit = iterations
        self.kind: type[Linearisation] = MatrixFreeLinearisation if matrix_free else DenseLinearisation
        self.points = start.clone()
        count = len(start)
        self.iterations = torch.zeros(count, dtype=torch.int64, device=start.device)
        self.reason = torch.full((count,), EXHAUSTED, dtype=torch.int64, device=start.device)
        self.residual = start.new_full((count,), torch.nan)
        self.kkt = start.new_full((count,), torch.nan)

    def solve(self) -> None:
        """Finds feasible points, then the nearest ones, and restores feasibility where that lost it."""
        everyone = torch.arange(len(self.start), device=self.start.device)
        feasible = self._restore(everyone)
        left = self._approach(feasible)
        self._restore(left, settled=True)

    def _restore(self, active: Tensor, *, settled: bool = False) -> Tensor:
        """Moves points onto h = 0 and returns the samples for which this succeeded.

        Args:
            active: the samples to move.
            settled: whether the reason why they did not converge is already recorded.
        """
        feasible = []
        while len(active):
            now = self._linearised(active)
            _, is_feasible = self._normal_step(active, now)
            size = self._weighted(now, now.residual)
            moved, taken = self._damped(active, now, size, ~is_feasible & now.finite & (size > 0))
            # A feasible point takes the last step only if it reduces the residual.
            self.points[active] = torch.where(taken[:, None], moved, self.points[active])
            stuck = ~taken & ~is_feasible
            self.residual[active] = now.residual.norm(dim=1)
            if not settled:
                self._note(active, stuck, torch.where(now.deficient, DEFICIENT, NO_DESCENT))
                self._note(active, ~now.finite, NOT_FINITE)
            done = is_feasible & now.finite
            feasible.append(active[done])
            self.iterations[active] += 1
            active = active[~done & ~stuck & now.finite]
            spent = self.iterations[active] >= self.limit
            self.residual[active[spent]] = self._evaluated(self.points[active[spent]], active[spent]).norm(
                dim=1
            )
            active = active[~spent]
        return torch.cat(feasible) if feasible else active

    def _damped(
        self, active: Tensor, now: Linearisation, size: Tensor, wanted: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The first damped step that reduces the residual enough, and which samples have one."""
        points = self.points[active]
        found, taken = points.clone(), torch.zeros_like(now.finite)
        for damping in DAMPINGS:
            solved = now.solve(now.residual, None if not damping else torch.full_like(size, damping))
            trial = points - now.adjoint(solved)
            better = self._weighted(now, self._evaluated(trial, active)) <= (1 - DECREASE) * size
            better = better & ~taken & now.finite & (size > 0)
            found, taken = torch.where(better[:, None], trial, found), taken | better
            if bool((taken | ~wanted).all()):
                break
        return found, taken

    def _approach(self, active: Tensor) -> Tensor:
        """Moves feasible points towards the nearest ones; returns the samples to make feasible again."""
        left = []
        while len(active):
            spent = self.iterations[active] >= self.limit - RESERVE
            left.append(active[spent])
            active = active[~spent]
            if not len(active):
                break
            now = self._linearised(active)
            self.iterations[active] += 1
            normal, is_feasible = self._normal_step(active, now)
            away = self.points[active] - self.start[active]
            multipliers = -now.solve(now.apply(away))
            gradient = away + now.adjoint(multipliers)
            kkt = gradient.norm(dim=1) / self._scale(active, away)
            self.residual[active], self.kkt[active] = now.residual.norm(dim=1), kkt
            done = is_feasible & (kkt <= NEAREST) & now.finite
            self._note(active, done, CONVERGED)
            self._note(active, ~now.finite, NOT_FINITE)
            wanted = ~done & now.finite
            if not bool(wanted.any()):
                break
            tangential = _tangential_step(now, gradient, multipliers, kkt, self.freedom)
            # The nearest point is at most as far from the start as this one, so no step needs to be longer
            # than twice that distance.
            longest = 2 * away.norm(dim=1) / tangential.norm(dim=1).clamp(min=torch.finfo(away.dtype).tiny)
            step = normal + longest.clamp(max=1.0)[:, None] * tangential
            step = torch.where(wanted[:, None], step, 0.0)
            moved, taken = self._searched(active, now, away, step, multipliers, wanted)
            self.points[active] = torch.where((taken & wanted)[:, None], moved, self.points[active])
            lost = wanted & ~taken
            self._note(active, lost, torch.where(now.deficient, DEFICIENT, EXHAUSTED))
            left.append(active[lost & ~is_feasible])
            active = active[wanted & taken]
        return torch.cat(left) if left else active

    def _searched(
        self,
        active: Tensor,
        now: Linearisation,
        away: Tensor,
        step: Tensor,
        multipliers: Tensor,
        wanted: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """The first halved step that decreases the merit function enough, and which samples have one."""
        points = self.points[active]
        weight = 2 * (multipliers * now.lengths).norm(dim=1)
        size = self._weighted(now, now.residual)
        slope = (away * step).sum(1) - weight * size
        rounding = torch.finfo(points.dtype).eps * (away.norm(dim=1) * points.norm(dim=1) + weight * size)
        length = torch.ones_like(size)
        found, taken = points.clone(), torch.zeros_like(now.finite)
        for _ in range(HALVINGS):
            trial = points + length[:, None] * step
            # Error of the linearised equations along this step.
            unforeseen = self._evaluated(trial, active) - (1 - length[:, None]) * now.residual
            trial = trial - now.adjoint(now.solve(unforeseen))
            residual = self._weighted(now, self._evaluated(trial, active))
            change = trial - points
            gained = (change * away).sum(1) + change.square().sum(1) / 2 + weight * (residual - size)
            better = (gained <= ARMIJO * length * slope + rounding) & ~taken
            found, taken = torch.where(better[:, None], trial, found), taken | better
            if bool((taken | ~wanted).all()):
                break
            length = torch.where(taken, length, length / 2)
        return found, taken

    def _normal_step(self, active: Tensor, now: Linearisation) -> tuple[Tensor, Tensor]:
        """The undamped step that solves the linearised equations, and which points are feasible."""
        step = -now.adjoint(now.solve(now.residual))
        scale = torch.maximum(self.points[active].norm(dim=1), self.start[active].norm(dim=1))
        first_order = (now.residual.abs() / now.lengths).amax(1)
        size = self._weighted(now, now.residual)
        consistent = self._weighted(now, now.residual + now.apply(step)) <= (1 - CONSISTENT) * size
        small = (step.norm(dim=1) <= FEASIBLE * scale) & consistent
        return step, small | (first_order <= ROUNDING * scale)

    def _scale(self, active: Tensor, away: Tensor) -> Tensor:
        size = torch.maximum(self.points[active].norm(dim=1), self.start[active].norm(dim=1))
        least = torch.finfo(size.dtype).tiny
        return torch.maximum(away.norm(dim=1), SMALL_DISTANCE * size).clamp(min=least)

    def _linearised(self, active: Tensor) -> Linearisation:
        return self.kind(lambda z: self.function(z, active), self.points[active])

    def _evaluated(self, points: Tensor, active: Tensor) -> Tensor:
        with torch.no_grad():
            return self.function(points, active)

    def _weighted(self, now: Linearisation, residual: Tensor) -> Tensor:
        """|D^{-1} h|; infinite where it is not finite."""
        return (residual / now.lengths).norm(dim=1).nan_to_num(torch.inf, torch.inf)

    def _note(self, active: Tensor, which: Tensor, reason: Tensor | int) -> None:
        codes = torch.as_tensor(reason, device=active.device).expand(len(active))
        self.reason[active[which]] = codes[which]


def _tangential_step(
    now: Linearisation, gradient: Tensor, multipliers: Tensor, kkt: Tensor, freedom: int
) -> Tensor:
    """t (b, n), the minimiser of the Lagrangian's model in the tangent space, by truncated conjugate
    gradients.
    """
    step = torch.zeros_like(gradient)
    if freedom <= 0:
        return step
    curvature = now.curvature(multipliers)
    residual, direction = -gradient, -gradient
    square = residual.square().sum(1)
    # The relative residual decreases with the error, for order two, but not much below the final accuracy.
    least = torch.finfo(kkt.dtype).tiny
    wanted = square * torch.maximum(kkt, 0.03 * NEAREST / kkt.clamp(min=least)).clamp(max=0.1) ** 2
    live = (square > 0) & torch.isfinite(square)
    for iteration in range(min(freedom, MOST_TANGENTIAL)):
        if not bool(live.any()):
            break
        image = now.tangent(direction + curvature(direction))
        along = (direction * image).sum(1)
        length = direction.square().sum(1)
        positive = along > LEAST_CURVATURE * length
        if iteration == 0:
            step = torch.where((live & ~positive)[:, None], direction, step)
        live = live & positive
        reach = torch.where(live, square / torch.where(live, along, 1.0), 0.0)[:, None]
        step, residual = step + reach * direction, residual - reach * image
        before, square = square, residual.square().sum(1)
        live = live & (square > wanted)
        onward = torch.where(live, square / torch.where(live, before, 1.0), 0.0)[:, None]
        direction = residual + onward * direction
    return step


def is_large(rows: int, coordinates: int) -> bool:
    """Whether a Jacobian of this size is too large to be formed."""
    return rows > MOST_ROWS or rows * coordinates > MOST_NUMBERS


def nearest_points(
    function: Function,
    start: Float[Tensor, "B *S"],
    *,
    rows: int,
    iterations: int,
    matrix_free: bool | None = None,
) -> ProjectionReport:
    """The nearest point of h = 0 to each start.

    Args:
        function: h, on flattened points in double precision, for any part of the batch.
        start: x.
        rows: the number of equations m.
        iterations: maximum number of iterations per sample.
        matrix_free: whether to use conjugate gradients instead of the Jacobian and its Cholesky factor; None
            chooses this for more than `MOST_ROWS` rows or `MOST_NUMBERS` Jacobian entries per sample.
    """
    flat = start.detach().flatten(1).double()
    numbers = rows * flat.shape[1]
    if matrix_free is None:
        matrix_free = is_large(rows, flat.shape[1])
    together = max(1, TOGETHER // max(1, flat.shape[1] if matrix_free else numbers))
    found: list[NearestPoint] = []
    # Samplers run without gradients or in inference mode, where tensors have no derivatives.
    with torch.inference_mode(False):
        for part in torch.arange(len(flat), device=flat.device).split(together):
            solver = NearestPoint(
                _of_part(function, part),
                flat[part].clone(),
                rows=rows,
                iterations=iterations,
                matrix_free=matrix_free,
            )
            solver.solve()
            found.append(solver)
    points, iterations_used, residual, kkt, reason = (
        torch.cat([getattr(solver, name) for solver in found])
        for name in ("points", "iterations", "residual", "kkt", "reason")
    )
    # A start that is not finite, or whose residual is not finite, is returned unchanged.
    points = torch.where((reason == NOT_FINITE)[:, None], flat, points)
    return ProjectionReport(points.view_as(start).to(start.dtype), iterations_used, residual, kkt, reason)


def _of_part(function: Function, part: Tensor) -> Function:
    """The function with indices into a part of the batch."""
    return lambda points, which: function(points, part[which])
