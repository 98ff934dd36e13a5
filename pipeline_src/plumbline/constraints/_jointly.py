r"""Several constraints at once, and the nearest point that satisfies all of them.

- Linear equalities are stacked into one, A x = k. If A is small, it is formed as a matrix, and dependent
  rows are removed. If A is large, no matrix is formed, and systems with A V A^T are solved by conjugate
  gradients (`plumbline.linalg.stacked`).
- Convex sets, which may include linear equalities, are handled by Dykstra's method. It projects onto one set
  after the other. Before each projection onto set i it adds the increment p_i that the previous projection
  onto this set removed:

      z <- P_i(x + p_i),    p_i <- x + p_i - z,    x <- z.

  The points converge to the nearest point of the intersection. Without the increments they would converge to
  some other point of it. The iteration stops when the increments change by less than `SETTLED` in a round;
  Birgin and Raydan 2005 show that a small change of x is not a reliable criterion.
- Smooth equations, which may include linear equalities, are stacked. The method of
  `plumbline.constraints._nearest` finds the nearest point.

There is no joint projection of curved equations and inequalities.

Sources: Boyle and Dykstra 1986, https://doi.org/10.1007/978-1-4613-9940-7_3; Birgin and Raydan 2005,
https://doi.org/10.1137/03060062X.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor

from plumbline.constraints import Constraint, ProjectableConstraint
from plumbline.constraints._conditioner import Conditioner, CoordinateConditioner, IntervalConditioner
from plumbline.constraints._linear_equality import LinearEquality
from plumbline.constraints._nearest import nearest_points
from plumbline.constraints._report import CONVERGED, EXHAUSTED, NOT_FINITE, ProjectionReport
from plumbline.linalg.stacked import StackedMap

if TYPE_CHECKING:
    import xarray as xr

# Number of entries of the stacked matrix up to which it is formed.
LARGEST_MATRIX = 2**22
# Dykstra's method: change of the increments in a round, relative to the sample, at which it stops, and the
# maximum number of rounds.
SETTLED, ROUNDS = 1e-11, 20000
# Maximum number of iterations for smooth equations.
ITERATIONS = 100


class StackedEquality(LinearEquality):
    """Several linear equalities on the same samples, stacked into one.

    Args:
        parts: the equalities.

    Raises:
        InfeasibleConstraintError: the equalities contradict each other.
    """

    parts: tuple[LinearEquality, ...]

    def __init__(self, parts: Sequence[LinearEquality]) -> None:
        self.parts = tuple(parts)
        maps = tuple(part.linear_map for part in self.parts)
        small = sum(m.rows for m in maps) * maps[0].columns <= LARGEST_MATRIX
        stacked = torch.cat([m.dense() for m in maps]) if small else StackedMap(maps)
        super().__init__(stacked, _targets(self.parts), unit=_unit(self.parts))

    def bind(self, known: Mapping[str, Tensor] | xr.Dataset) -> LinearEquality:
        """The equalities with the targets of these samples."""
        bound = copy.copy(self)
        bound.parts = tuple(part.bind(known) for part in self.parts)
        target = _targets(bound.parts)
        return bound if target is None else bound.with_target(target)

    def select(self, which: Int[Tensor, " b"]) -> LinearEquality:
        chosen = copy.copy(self)
        chosen.target = super().select(which).target
        chosen.parts = tuple(part.select(which) for part in self.parts)
        return chosen

    def violation(self, x: Float[Tensor, "B *n"]) -> Float[Tensor, " B"]:
        """The largest relative violation of the equalities."""
        if self._offset is not None:
            return super().violation(x)
        return torch.stack([part.violation(x) for part in self.parts]).amax(0)


class Jointly(Constraint):
    """Several constraints that must hold together.

    `residual` concatenates the residuals of all parts, and `violation` is the largest violation of a part.
    `distance` is the mean absolute residual over all parts, which is meaningful only if they share a unit.

    Args:
        parts: the constraints.

    Raises:
        ValueError: there are no parts.

    Example:
        >>> import torch
        >>> from plumbline.constraints import Bounds, Jointly, LinearEquality
        >>> total = LinearEquality(torch.ones(1, 3), torch.tensor([1.0]))
        >>> shares = Jointly([total, Bounds(lower=0.0, upper=0.5)])
        >>> shares.project(torch.tensor([[2.0, 0.4, 0.0]]))
        tensor([[0.5000, 0.4500, 0.0500]])
    """

    def __init__(self, parts: Sequence[Constraint]) -> None:
        if not parts:
            raise ValueError("`parts` must hold at least one constraint, found none.")
        self.parts = tuple(parts)
        self.unit = _unit(parts)
        self.tolerance = max(part.tolerance for part in parts)
        linear = [part for part in parts if isinstance(part, LinearEquality)]
        others = [part for part in parts if not isinstance(part, LinearEquality)]
        self._linear = StackedEquality(linear) if len(linear) > 1 else linear[0] if linear else None
        self._others = tuple(others)
        self.convex = all(part.convex for part in parts)
        self.smooth = all(part.smooth for part in parts)

    def bind(self, known: Mapping[str, Tensor] | xr.Dataset) -> Jointly:
        """The constraints bound to these samples."""
        return self._of(lambda part: part.bind(known))

    def bind_models(self, models: Mapping[str, torch.nn.Module]) -> Jointly:
        """The constraints with the trained models that they evaluate."""
        return self._of(lambda part: part.bind_models(models))

    def select(self, which: Int[Tensor, " b"]) -> Jointly:
        return self._of(lambda part: part.select(which))

    def residual(self, x: Float[Tensor, "B *S"]) -> Float[Tensor, "B m"]:
        """The residuals of all parts, each in its unit."""
        return torch.cat([part.residual(x).flatten(1) for part in self.parts], dim=1)

    def violation(self, x: Float[Tensor, "B *S"]) -> Float[Tensor, " B"]:
        """The largest relative violation of the parts."""
        return torch.stack([part.violation(x) for part in self.parts]).amax(0)

    def project(self, x: Float[Tensor, "B *S"]) -> Float[Tensor, "B *S"]:
        """The nearest point that satisfies all parts; a warning counts the samples that did not converge.

        Raises:
            TypeError: the parts are neither all convex nor all smooth equations.
        """
        if self._linear is not None and not self._others:
            return self._linear.project(x)
        report = self.project_with_report(x)
        report.warn("jointly")
        return report.points

    def project_with_report(self, x: Float[Tensor, "B *S"]) -> ProjectionReport:
        """The nearest points, with iterations (or rounds), residual and outcome of each sample.

        Raises:
            TypeError: the parts are neither all convex nor all smooth equations.
        """
        if self.convex:
            return self._by_dykstra(x)
        if self.smooth:
            return self._by_newton(x)
        curved = ", ".join(type(part).__name__ for part in self.parts if not part.convex)
        sets = ", ".join(type(part).__name__ for part in self.parts if not part.smooth)
        raise TypeError(
            f"there is no joint projection of {curved}, which is not convex, and {sets}, which is not a "
            "smooth equation: use constraints that are all convex, or all smooth equations."
        )

    def conditioner(self, shift: Float[Tensor, "*S"], scale: Float[Tensor, "*S"]) -> Conditioner:
        """Conditions Gaussians on the equations, then on the inequalities.

        Raises:
            TypeError: a Gaussian cannot be conditioned on a part.
        """
        first = self._equations(shift, scale)
        rows, lower, upper = [], [], []
        for part in self._others:
            if part.smooth:
                continue
            own = part.conditioner(shift, scale)
            own = own.intervals() if isinstance(own, CoordinateConditioner) else own
            if not isinstance(own, IntervalConditioner) or own.first is not None:
                raise TypeError(
                    f"a Gaussian cannot be conditioned on {type(part).__name__} jointly with others: give "
                    "its equalities and its bounds one by one."
                )
            rows.append(own.rows)
            lower.append(own.lower)
            upper.append(own.upper)
        if not rows:
            assert first is not None
            return first
        return IntervalConditioner(torch.cat(rows), _side_by_side(lower), _side_by_side(upper), first=first)

    def _equations(self, shift: Tensor, scale: Tensor) -> Conditioner | None:
        """Conditions on all equations; None if there are none."""
        curved = [part for part in self._others if part.smooth]
        if not curved:
            return None if self._linear is None else self._linear.conditioner(shift, scale)
        together = Jointly([part for part in self.parts if part.smooth])
        return Constraint.conditioner(together, shift, scale)

    @torch.no_grad()
    def _by_dykstra(self, x: Tensor) -> ProjectionReport:
        start = x.detach().double()
        size = start.flatten(1).norm(dim=1).clamp(min=torch.finfo(start.dtype).tiny)
        points = start.clone()
        rounds = torch.zeros(len(x), dtype=torch.int64, device=x.device)
        reason = torch.full_like(rounds, EXHAUSTED)
        finite = torch.isfinite(start).flatten(1).all(1)
        reason[~finite] = NOT_FINITE
        change = torch.full_like(size, torch.nan)
        active = torch.nonzero(finite).squeeze(1)
        sets = self._sets(active)
        # The linear equality comes last, so that it holds up to rounding.
        taken_off = [torch.zeros_like(start[active]) for _ in sets]
        while len(active):
            before = points[active]
            changed = torch.zeros_like(size[active])
            for i, one in enumerate(sets):
                moved = before + taken_off[i]
                after = one.project(moved)
                changed += (moved - after - taken_off[i]).flatten(1).square().sum(1)
                taken_off[i], before = moved - after, after
            points[active] = before
            rounds[active] += 1
            change[active] = changed.sqrt() / size[active]
            done = change[active] <= SETTLED
            reason[active[done]] = CONVERGED
            left = ~done & (rounds[active] < ROUNDS)
            if not bool(left.all()):
                active = active[left]
                taken_off = [values[left] for values in taken_off]
                sets = self._sets(active)
        residual = self.residual(points).flatten(1).norm(dim=1)
        return ProjectionReport(points.to(x.dtype), rounds, residual, change, reason)

    def _sets(self, which: Tensor) -> list[ProjectableConstraint]:
        """The sets to project onto, for the samples with the indices `which`."""
        linear = [] if self._linear is None else [self._linear]
        return [cast("ProjectableConstraint", one.select(which)) for one in (*self._others, *linear)]

    def _by_newton(self, x: Tensor) -> ProjectionReport:
        def function(z: Tensor, which: Tensor) -> Tensor:
            shaped = z.view(len(z), *x.shape[1:])
            return torch.cat([part.select(which).residual(shaped).flatten(1) for part in self.parts], dim=1)

        with torch.no_grad():
            rows = self.residual(x.double()).shape[1]
        return nearest_points(function, x, rows=rows, iterations=ITERATIONS)

    def _of(self, change: Callable[[Constraint], Constraint]) -> Jointly:
        """A copy with `change` applied to each part, without decomposing the stacked rows again."""
        changed = copy.copy(self)
        changed.parts = tuple(change(part) for part in self.parts)
        changed._others = tuple(part for part in changed.parts if not isinstance(part, LinearEquality))
        if self._linear is not None:
            changed._linear = cast("LinearEquality", change(self._linear))
        return changed


def _side_by_side(bounds: Sequence[Tensor]) -> Tensor:
    """Bounds (r,) or (B, r) of several parts as (R,) or (B, R)."""
    batch = max((len(bound) for bound in bounds if bound.ndim > 1), default=1)
    return torch.cat([bound.expand(batch, bound.shape[-1]) for bound in bounds], dim=1)


def _targets(parts: Sequence[LinearEquality]) -> Tensor | None:
    """k of all equalities, for all samples or per sample; None if one of them is not bound."""
    targets = [part.target for part in parts]
    known = [target for target in targets if target is not None]
    if len(known) < len(targets):
        return None
    batch = max((len(target) for target in known if target.ndim > 1), default=None)
    if batch is None:
        return torch.cat(known)
    return torch.cat([target if target.ndim > 1 else target.expand(batch, -1) for target in known], dim=1)


def _unit(parts: Sequence[Constraint]) -> str:
    """The unit that all parts share, or the different units, separated by commas."""
    return ", ".join(dict.fromkeys(part.unit for part in parts))
