r"""The linear equality A x = k.

With the singular value decomposition A = U S V^T of rank r, the equality says the same as

    V_r^T x = S_r^{-1} U_r^T k

if k lies in the range of A, and nothing can satisfy it otherwise. These rows are independent and orthonormal:
rows of A that depend on others drop out, and the nearest feasible point, x + V_r (S_r^{-1} U_r^T k - V_r^T x), is
exact to rounding even where A A^T is nearly singular. Residuals and corrections are formed in double precision.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from plumbline.constraints import Constraint, InfeasibleConstraintError
from plumbline.constraints.linear.maps import Dense, GroupSum
from plumbline.distributions.conditioning import ConditionedCovariance
from plumbline.distributions.constrained_gaussian import ConstrainedGaussian
from plumbline.distributions.covariance import Diagonal

if TYPE_CHECKING:
    import xarray as xr

# Relative size under which a singular value is zero, and a target is outside the range of A.
RANK_TOLERANCE = 1e-10
# Relative size of what is new in a column of A, over which it can be solved for.
PIVOT_TOLERANCE = 1e-6


class LinearEquality(Constraint):
    """A x = k for samples x of shape (B, ...), flattened.

    Args:
        matrix: A, an m-by-n tensor, or a matrix-free map (`GroupSum`).
        target: k, (m,) for all samples or (B, m), one a sample; None if it is to come from `given`.
        target_variable: the variable of a dataset that holds k a sample.
        unit: unit of the residual.

    Raises:
        ValueError: A is not finite or empty, or k does not fit it.
        InfeasibleConstraintError: rows of A depend on each other and k contradicts them.
    """

    def __init__(
        self,
        matrix: Float[Tensor, "m n"] | Dense | GroupSum,
        target: Float[Tensor, "*B m"] | None,
        *,
        target_variable: str | None = None,
        unit: str = "1",
    ) -> None:
        self.unit = unit
        self.target_variable = target_variable
        self._to_independent: Tensor | None = None
        self._offset: Tensor | None = None
        # Targets change from batch to batch, the rows do not: this is shared by all equalities of the same A.
        self._pivots: dict[bool, Tensor] = {}
        if isinstance(matrix, GroupSum):
            if matrix.weights is not None and not bool(
                (matrix.absolute(torch.ones_like(matrix.weights)) > 0).all()
            ):
                raise InfeasibleConstraintError("the weights of a group are all zero: it constrains nothing.")
            self.linear_map: Dense | GroupSum = matrix
            self.independent: Dense | GroupSum = matrix
        else:
            matrix = (matrix.matrix if isinstance(matrix, Dense) else matrix).double()
            if matrix.ndim != 2 or not matrix.numel() or not torch.isfinite(matrix).all():
                raise ValueError(f"A must be a finite m-by-n matrix, found the shape {tuple(matrix.shape)}.")
            self.linear_map = Dense(matrix)
            left, singular, right = torch.linalg.svd(matrix, full_matrices=False)
            rank = int((singular > RANK_TOLERANCE * singular[0]).sum())
            if rank == 0:
                raise InfeasibleConstraintError("A is zero: it constrains nothing.")
            self._left = left[:, :rank]
            self._to_independent = left[:, :rank] / singular[:rank]
            self.independent = Dense(right[:rank])
        self.target = None if target is None else self._checked_target(target)

    @property
    def matrix(self) -> Float[Tensor, "r n"]:
        """Independent rows that span those of A, in double precision; orthonormal for a dense A."""
        return self.independent.matrix if isinstance(self.independent, Dense) else self.independent.dense()

    def shortfall(self, x: Float[Tensor, "*B n"]) -> Float[Tensor, "*B r"]:
        """What the rows of `matrix` lack to be feasible, in double precision; k broadcasts along *B."""
        lack = -self._residual(x.double())
        return lack if self._to_independent is None else lack @ self._to_independent.to(lack)

    def given(self, known: Mapping[Any, Any] | xr.Dataset) -> LinearEquality:
        """The equality with the targets of the samples in `known`, if it takes one a sample."""
        if self.target_variable is None:
            return self
        target = known[self.target_variable]
        return self.with_target(target if isinstance(target, Tensor) else torch.as_tensor(target.values))

    def with_target(self, target: Float[Tensor, "*B m"]) -> LinearEquality:
        """The same A with another k, in the units before any `rescaled`."""
        bound = object.__new__(LinearEquality)
        bound.__dict__.update(self.__dict__)
        offset = 0.0 if self._offset is None else self._offset.to(target.device)
        bound.target = bound._checked_target(target.double() - offset)
        return bound

    def pivots(self, *, last: bool) -> Int[Tensor, " r"]:
        """The last, or first, coordinates that the equality can be solved for, one an independent row.

        Coordinates are taken from that end, each if its column of A does not depend on those taken before.
        """
        if last not in self._pivots:
            rows = self.independent
            self._pivots[last] = (
                _extreme_members(rows, last=last)
                if isinstance(rows, GroupSum)
                else _pivots(rows.matrix, last=last)
            )
        return self._pivots[last]

    def rescaled(self, shift: Float[Tensor, "*n"], scale: Float[Tensor, "*n"]) -> LinearEquality:
        """The same equality for z, where x = shift + scale z: A diag(scale) z = k - A shift."""
        shift, scale = shift.double().flatten(), scale.double().flatten()
        moved = LinearEquality(self.linear_map.to(scale).rescaled(scale), None, unit=self.unit)
        moved.target_variable = self.target_variable
        before = 0.0 if self._offset is None else self._offset.to(shift)
        moved._offset = before + self.linear_map.to(shift).apply(shift)
        return moved if self.target is None else moved.with_target(self.target.to(shift) + before)

    def residual(self, x: Float[Tensor, "B *n"]) -> Float[Tensor, "B m"]:
        """A x - k, in the dtype of x."""
        return self._residual(x.flatten(1).double()).to(x.dtype)

    def violation(self, x: Float[Tensor, "B *n"]) -> Float[Tensor, " B"]:
        """The largest |A x - k| / (|A| |x| + |k|) of each sample: rounding makes it a few eps at least."""
        flat = x.flatten(1).double()
        scale = self.linear_map.to(flat).absolute(flat) + self._targets(flat).abs()
        smallest = torch.finfo(flat.dtype).tiny
        return (self._residual(flat).abs() / scale.clamp(min=smallest)).amax(1).to(x.dtype)

    def project(self, x: Float[Tensor, "B *n"]) -> Float[Tensor, "B *n"]:
        """The nearest feasible point of each sample, exact to the precision of its dtype."""
        ones = torch.ones(x[0].numel(), dtype=torch.float64, device=x.device)
        projected, _ = self.condition(x.double(), ones)
        return projected.to(x.dtype)

    def complete(self, x: Float[Tensor, "B *n"]) -> Float[Tensor, "B *n"]:
        """Each sample with its last pivots solved for, and its other coordinates as they are."""
        giving_way = torch.zeros(x[0].numel(), dtype=torch.float64, device=x.device)
        giving_way[self.pivots(last=True).to(x.device)] = 1.0
        completed, _ = self.condition(x.double(), giving_way)
        return completed.to(x.dtype)

    def condition(
        self, mean: Float[Tensor, "B *n"], variance: Float[Tensor, "*#V"]
    ) -> tuple[Float[Tensor, "B *n"], ConditionedCovariance]:
        """Mean and covariance of N(mean, diag(variance)) given A x = k.

        Args:
            mean: means of the samples, in the data's unit.
            variance: variances of the coordinates, for all samples or one a sample.

        Raises:
            DegenerateGaussianError: the variance leaves no freedom to meet an equality.
        """
        flat = mean.flatten(1).double()
        spread = variance.double().reshape(-1, flat.shape[1])
        spread = spread[0] if len(spread) == 1 else spread
        gaussian = ConstrainedGaussian(flat, Diagonal(spread), self, validate_args=False)
        return gaussian.mean.view_as(mean).to(mean.dtype), gaussian.conditioned

    def _residual(self, flat: Tensor) -> Tensor:
        return self.linear_map.to(flat).apply(flat) - self._targets(flat)

    def _targets(self, flat: Tensor) -> Tensor:
        if self.target is None:
            raise ValueError(
                f"this equality takes its target from {self.target_variable!r}, one a sample: bind it with `given`."
            )
        if self.target.ndim > 1 and self.target.shape[0] != flat.shape[-2]:
            raise ValueError(f"{self.target.shape[0]} targets were given for {flat.shape[-2]} samples.")
        return self.target.to(flat)

    def _checked_target(self, target: Tensor) -> Tensor:
        target = target.double()
        # One target for all samples, given as a batch of one, is one for any number of samples.
        target = target[0] if target.ndim == 2 and len(target) == 1 else target
        if (
            target.ndim not in (1, 2)
            or target.shape[-1] != self.linear_map.rows
            or not torch.isfinite(target).all()
        ):
            raise ValueError(
                f"k must be {self.linear_map.rows} finite numbers, found the shape {tuple(target.shape)}."
            )
        if self._to_independent is not None:
            left = self._left.to(target)
            outside = (target - target @ left @ left.mT).abs().amax()
            # Targets measured in single precision contradict dependent rows by their rounding.
            if outside > 1e-6 * target.abs().amax().clamp(min=1e-300):
                raise InfeasibleConstraintError(
                    f"rows of A depend on each other and k contradicts them (by {outside:.3g}): no x satisfies A x = k."
                )
        return target


def _pivots(matrix: Float[Tensor, "r n"], *, last: bool) -> Int[Tensor, " r"]:
    """From one end, each coordinate whose column does not depend on those taken before (Gram-Schmidt)."""
    rows, n = matrix.shape
    taken: list[int] = []
    basis = matrix.new_zeros(rows, 0)
    for i in reversed(range(n)) if last else range(n):
        column = matrix[:, i]
        rest = column - basis @ (basis.mT @ column)
        if len(taken) < rows and rest.norm() > PIVOT_TOLERANCE * column.norm():
            taken.append(i)
            basis = torch.cat([basis, (rest / rest.norm())[:, None]], dim=1)
    return torch.tensor(sorted(taken))


def _extreme_members(sums: GroupSum, *, last: bool) -> Int[Tensor, " m"]:
    """The last, or first, coordinate of each group whose weight is not zero."""
    position = torch.arange(len(sums.groups), device=sums.groups.device)
    usable = position if sums.weights is None else position[sums.weights != 0]
    empty = position.new_full((sums.rows,), -1 if last else len(sums.groups))
    return empty.scatter_reduce(0, sums.groups[usable], usable, "amax" if last else "amin")
