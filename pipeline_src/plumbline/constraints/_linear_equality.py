r"""The linear equality A x = k.

With the singular value decomposition A = U S V^T of rank r, the equality says the same as

    V_r^T x = S_r^{-1} U_r^T k

if k lies in the range of A, and nothing can satisfy it otherwise. These rows are independent and orthonormal:
rows of A that depend on others drop out, and the nearest feasible point, x + V_r (S_r^{-1} U_r^T k - V_r^T x), is
exact to rounding even where A A^T is nearly singular. Residuals and corrections are formed in double precision.
How rows are told to depend on each other, and targets to contradict them, is in `plumbline.constraints._rows`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from plumbline.constraints import Constraint, InfeasibleConstraintError
from plumbline.constraints._rows import IndependentRows, independent_rows, rescaled_rows
from plumbline.distributions.constrained_gaussian import ConstrainedGaussian
from plumbline.linalg.checks import require_variances
from plumbline.linalg.conditioning import ConditionedCovariance
from plumbline.linalg.covariance import Diagonal
from plumbline.linalg.maps import DenseMap, GroupSum

if TYPE_CHECKING:
    import xarray as xr


# Relative size of what is new in a column of A, over which it can be solved for.
PIVOT_TOLERANCE = 1e-6


class LinearEquality(Constraint):
    """A x = k for samples x of shape (B, ...), flattened.

    Args:
        matrix: A, an m-by-n tensor, or a matrix-free map (`GroupSum`). Which rows of a tensor depend on each other is
            told by the rounding of its dtype: give it in the dtype that its numbers were computed in.
        target: k, (m,) for all samples or (B, m), one a sample; None if it is to come from `bind`.
        target_variable: the variable of a dataset that holds k a sample.
        unit: unit of the residual.

    Raises:
        ValueError: A is not finite, not real or empty, or k does not fit it.
        InfeasibleConstraintError: A is zero, or its rows depend on each other and k contradicts them.
        IllConditionedError: rows of A nearly depend on each other, by more than rounding and too little to be used.

    Example:
        >>> import torch
        >>> from plumbline.constraints import LinearEquality
        >>> budget = LinearEquality(torch.ones(1, 3), torch.tensor([1.0]))
        >>> x = torch.tensor([[0.5, 0.5, 0.6]], dtype=torch.float64)
        >>> budget.residual(x)
        tensor([[0.6000]], dtype=torch.float64)
        >>> budget.project(x)
        tensor([[0.3000, 0.3000, 0.4000]], dtype=torch.float64)
    """

    def __init__(
        self,
        matrix: Shaped[Tensor, "m n"] | DenseMap | GroupSum,
        target: Shaped[Tensor, "*B m"] | None,
        *,
        target_variable: str | None = None,
        unit: str = "1",
    ) -> None:
        self.unit = unit
        self.target_variable = target_variable
        self._rows: IndependentRows | None = None
        self._offset: Tensor | None = None
        # Targets change from batch to batch, the rows do not: this is shared by all equalities of the same A.
        self._pivots: dict[bool, Tensor] = {}
        if isinstance(matrix, GroupSum):
            self._eps = torch.finfo(torch.float64).eps
            self.linear_map: DenseMap | GroupSum = _some_weight(matrix)
            self.independent: DenseMap | GroupSum = matrix
        else:
            matrix = matrix.matrix if isinstance(matrix, DenseMap) else matrix
            self._eps = _rounding(matrix)
            self.linear_map = DenseMap(_checked_matrix(matrix))
            self._rows = independent_rows(self.linear_map.matrix, self._eps)
            self.independent = DenseMap(self._rows.rows)
        self.target = None if target is None else self._checked_target(target)

    @property
    def matrix(self) -> Float[Tensor, "r n"]:
        """Independent rows that span those of A, in double precision; orthonormal for a dense A."""
        return self.independent.matrix if isinstance(self.independent, DenseMap) else self.independent.dense()

    def independent_residual(self, x: Float[Tensor, "*B n"]) -> Float[Tensor, "*B r"]:
        """The residual in the rows of `matrix`, in double precision; k broadcasts along *B."""
        residual = self._residual(x.double())
        return residual if self._rows is None else residual @ self._rows.transform.to(residual)

    def bind(self, known: Mapping[Any, Any] | xr.Dataset) -> LinearEquality:
        """The equality with the targets of the samples in `known`, if it takes one a sample."""
        if self.target_variable is None:
            return self
        target = known[self.target_variable]
        return self.with_target(target if isinstance(target, Tensor) else torch.as_tensor(target.values))

    def with_target(self, target: Float[Tensor, "*B m"]) -> LinearEquality:
        """The same A with another k, in the units before any `rescaled`."""
        bound = object.__new__(LinearEquality)
        bound.__dict__.update(self.__dict__)
        bound.target = bound._checked_target(target)
        return bound

    def pivots(self, *, last: bool) -> Int[Tensor, " r"]:
        """The last, or first, coordinates that the equality can be solved for, one an independent row.

        Coordinates are taken from that end, each if its column of A does not depend on those taken before.
        """
        if last not in self._pivots:
            if isinstance(self.linear_map, GroupSum):
                self._pivots[last] = _extreme_members(self.linear_map, last=last)
            else:
                # Of coordinates that A leaves alone, rounding is all that its independent rows have.
                used = (self.linear_map.matrix != 0).any(0).to(self.matrix.device)
                self._pivots[last] = _pivots(self.matrix * used, last=last)
        return self._pivots[last]

    def rescaled(self, shift: Float[Tensor, "*n"], scale: Float[Tensor, "*n"]) -> LinearEquality:
        """The same equality for z, where x = shift + scale z: A diag(scale) z = k - A shift.

        Raises:
            ValueError: a shift that is not finite, or a scale that is zero or not finite.
        """
        shift, scale = shift.double().flatten(), scale.double().flatten()
        if not bool(torch.isfinite(shift).all() and torch.isfinite(scale).all() and (scale != 0).all()):
            raise ValueError("shift and scale must be finite, and no scale zero: x = shift + scale z.")
        moved = object.__new__(LinearEquality)
        moved.__dict__.update(self.__dict__)
        moved._pivots = {}
        moved.linear_map = moved.independent = self.linear_map.to(scale).rescaled(scale)
        if self._rows is not None:
            assert isinstance(moved.linear_map, DenseMap)
            moved._rows = rescaled_rows(moved.linear_map.matrix, self._rows.rank)
            moved.independent = DenseMap(moved._rows.rows)
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
        ones = torch.ones(x.shape[1:].numel(), dtype=torch.float64, device=x.device)
        return self._conditioned(x.double(), ones).mean.view_as(x).to(x.dtype)

    def complete(self, x: Float[Tensor, "B *n"]) -> Float[Tensor, "B *n"]:
        """Each sample with its last pivots solved for, and its other coordinates as they are."""
        giving_way = torch.zeros(x.shape[1:].numel(), dtype=torch.float64, device=x.device)
        giving_way[self.pivots(last=True).to(x.device)] = 1.0
        return self._conditioned(x.double(), giving_way).mean.view_as(x).to(x.dtype)

    def condition(
        self, mean: Float[Tensor, "B *n"], variance: Float[Tensor, "*#V"]
    ) -> tuple[Float[Tensor, "B *n"], ConditionedCovariance]:
        """Mean and covariance of N(mean, diag(variance)) given A x = k.

        Args:
            mean: means of the samples, in the data's unit.
            variance: variances of the coordinates, for all samples or one a sample, at least zero.

        Raises:
            ValueError: a variance that is negative or not finite.
            DegenerateGaussianError: the variance leaves no freedom to meet an equality.
        """
        least = require_variances(variance)
        gaussian = self._conditioned(mean, variance)
        if not least > 0:
            gaussian.require_feasible_mean()
        return gaussian.mean.view_as(mean).to(mean.dtype), gaussian.conditioned

    def _conditioned(self, mean: Tensor, variance: Tensor) -> ConstrainedGaussian:
        flat = mean.flatten(1).double()
        spread = variance.double().reshape(-1, flat.shape[1])
        spread = spread[0] if len(spread) == 1 else spread
        covariance = Diagonal(spread, validate_args=False)
        return ConstrainedGaussian(flat, covariance, self, validate_args=False)

    def _residual(self, flat: Tensor) -> Tensor:
        if flat.shape[-1] != self.linear_map.columns:
            raise ValueError(
                f"A has {self.linear_map.columns} columns, and samples have {flat.shape[-1]} coordinates."
            )
        return self.linear_map.to(flat).apply(flat) - self._targets(flat)

    def _targets(self, flat: Tensor) -> Tensor:
        if self.target is None:
            raise ValueError(
                f"this equality takes its target from {self.target_variable!r}, one a sample: bind it with `bind`."
            )
        if self.target.ndim > 1 and self.target.shape[0] != flat.shape[-2]:
            raise ValueError(f"{self.target.shape[0]} targets were given for {flat.shape[-2]} samples.")
        return self.target.to(flat)

    def _checked_target(self, given: Tensor) -> Tensor:
        """k without the offset, in double precision."""
        if given.is_complex() or given.ndim not in (1, 2) or given.shape[-1] != self.linear_map.rows:
            raise ValueError(
                f"k must be {self.linear_map.rows} real numbers, found the shape {tuple(given.shape)} of {given.dtype}."
            )
        target = given.double()
        if not bool(torch.isfinite(target).all()):
            raise ValueError(
                f"k must be {self.linear_map.rows} finite numbers, found NaN or infinite ones among them."
            )
        # One target for all samples, given as a batch of one, is one for any number of samples.
        target = target[0] if target.ndim == 2 and len(target) == 1 else target
        size = target.abs()
        if self._offset is not None:
            offset = self._offset.to(target)
            target, size = target - offset, size + offset.abs()
        if self._rows is not None:
            self._rows.require_no_contradiction(target, size, max(self._eps, _rounding(given)))
        return target


def _rounding(given: Tensor) -> float:
    """Relative rounding of numbers of this dtype; that of double precision for whole numbers."""
    return torch.finfo(given.dtype if given.dtype.is_floating_point else torch.float64).eps


def _checked_matrix(given: Tensor) -> Float[Tensor, "m n"]:
    """A in double precision."""
    if given.is_complex():
        raise ValueError("A must be real, found complex numbers.")
    matrix = given.double()
    if matrix.ndim != 2 or not matrix.numel():
        raise ValueError(f"A must be an m-by-n matrix, found the shape {tuple(matrix.shape)}.")
    if not bool(torch.isfinite(matrix).all()):
        raise ValueError("A must be a finite m-by-n matrix, found NaN or infinite numbers in it.")
    if not bool(matrix.any()):
        raise InfeasibleConstraintError("A is zero: it constrains nothing.")
    return matrix


def _some_weight(sums: GroupSum) -> GroupSum:
    """The sums, if each group has a weight that is not zero."""
    if sums.weights is not None:
        empty = (sums.absolute(torch.ones_like(sums.weights)) == 0).nonzero()
        if len(empty):
            raise InfeasibleConstraintError(
                f"the weights of group {int(empty[0])} are all zero: it constrains nothing."
            )
    return sums


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
