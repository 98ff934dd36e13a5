r"""The linear equality A x = k.

With the singular value decomposition A = U S V^T of rank r, the equality is equivalent to

    V_r^T x = S_r^{-1} U_r^T k

if k lies in the range of A; otherwise no x satisfies it. The rows of V_r^T are independent and orthonormal,
so dependent rows of A drop out. The nearest feasible point, x + V_r (S_r^{-1} U_r^T k - V_r^T x), is exact up
to rounding even where A A^T is nearly singular. Residuals and corrections are computed in double precision.
`plumbline.constraints._rows` decides which rows depend on others and which targets contradict them.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from plumbline.constraints import Constraint, InfeasibleConstraintError
from plumbline.constraints._conditioner import LinearConditioner
from plumbline.constraints._known import required
from plumbline.constraints._rows import IndependentRows, independent_rows, rescaled_rows
from plumbline.distributions.constrained_gaussian import ConstrainedGaussian
from plumbline.linalg.checks import require, require_variances
from plumbline.linalg.conditioning import ConditionedCovariance
from plumbline.linalg.covariance import Diagonal
from plumbline.linalg.maps import DenseMap, GroupSum, StructuredMap

if TYPE_CHECKING:
    import xarray as xr


# Relative size of the part of a column of A that is new, above which its coordinate can be solved for.
PIVOT_TOLERANCE = 1e-6


class LinearEquality(Constraint):
    """A x = k for samples x of shape (B, ...), flattened.

    Args:
        matrix: A, an m-by-n tensor, or a map without a matrix (`GroupSum`, `SumDifferences`). The rounding of
            a tensor's dtype decides which rows count as dependent, so give A in the dtype in which it was
            computed.
        target: k, (m,) for all samples or (B, m) per sample; None if `bind` provides it.
        target_variable: name of the dataset's variable that holds k per sample.
        unit: unit of the residual.

    Raises:
        ValueError: A is not finite, not real or empty, or k does not fit it.
        InfeasibleConstraintError: A is zero, a row of a map has no weight, or k contradicts dependent rows.
        IllConditionedError: rows of A are nearly dependent, so that rounding does not determine the rank.

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

    convex = True
    smooth = True

    def __init__(
        self,
        matrix: Shaped[Tensor, "m n"] | DenseMap | StructuredMap,
        target: Shaped[Tensor, "*B m"] | None,
        *,
        target_variable: str | None = None,
        unit: str = "1",
    ) -> None:
        self.unit = unit
        self.target_variable = target_variable
        self._rows: IndependentRows | None = None
        self._offset: Tensor | None = None
        # Shared by all copies with the same A, since targets change from batch to batch but the rows do not.
        self._pivots: dict[tuple[bool, torch.device], Tensor] = {}
        if not isinstance(matrix, Tensor | DenseMap):
            self._eps = torch.finfo(torch.float64).eps
            self.linear_map: DenseMap | StructuredMap = _some_weight(matrix)
            self.independent: DenseMap | StructuredMap = matrix
        else:
            matrix = matrix.matrix if isinstance(matrix, DenseMap) else matrix
            self._eps = _rounding(matrix)
            self.linear_map = DenseMap(_checked_matrix(matrix))
            self._rows = independent_rows(self.linear_map.matrix, self._eps)
            self.independent = DenseMap(self._rows.rows)
        self.target = None if target is None else self._checked_target(target)

    @property
    def matrix(self) -> Float[Tensor, "r n"]:
        """Independent rows with the span of those of A, in double precision; orthonormal for a dense A."""
        return self.independent.matrix if isinstance(self.independent, DenseMap) else self.independent.dense()

    def independent_residual(self, x: Float[Tensor, "*B n"]) -> Float[Tensor, "*B r"]:
        """The residual in the rows of `matrix`, in double precision; k broadcasts along *B."""
        residual = self._residual(x.double())
        return residual if self._rows is None else residual @ self._rows.transform.to(residual)

    def bind(self, known: Mapping[str, Tensor] | xr.Dataset) -> LinearEquality:
        """The equality with the per-sample targets in `known`; itself if it has no such targets."""
        if self.target_variable is None:
            return self
        return self.with_target(required(known, self.target_variable, "target"))

    def with_target(self, target: Float[Tensor, "*B m"]) -> LinearEquality:
        """The same A with another k, given in the units before any call of `rescaled`."""
        bound = copy.copy(self)
        bound.target = bound._checked_target(target)
        return bound

    def select(self, which: Int[Tensor, " b"]) -> LinearEquality:
        if self.target is None or self.target.ndim == 1:
            return self
        chosen = copy.copy(self)
        chosen.target = self.target[which.to(self.target.device)]
        return chosen

    def pivots(self, *, last: bool) -> Int[Tensor, " r"]:
        """The last (or first) coordinates that the equality can be solved for, one per independent row.

        Coordinates are visited from that end, and each is taken if its column of A does not depend on the
        columns taken before.
        """
        if not isinstance(self.linear_map, DenseMap):
            return self.linear_map.pivots(last=last)
        key = (last, self.matrix.device)
        if key not in self._pivots:
            # Where a column of A is zero, the independent rows hold only rounding errors.
            used = (self.linear_map.matrix != 0).any(0).to(self.matrix.device)
            self._pivots[key] = _pivots((self.matrix * used).cpu(), last=last).to(self.matrix.device)
        return self._pivots[key]

    def rescaled(self, shift: Float[Tensor, "*n"], scale: Float[Tensor, "*n"]) -> LinearEquality:
        """The same equality for z, where x = shift + scale z: A diag(scale) z = k - A shift.

        Raises:
            ValueError: a shift is not finite, or a scale is zero or not finite.
        """
        shift, scale = shift.double().flatten(), scale.double().flatten()
        if not bool(torch.isfinite(shift).all() and torch.isfinite(scale).all() and (scale != 0).all()):
            raise ValueError("shift and scale must be finite, and no scale zero: x = shift + scale z.")
        moved = copy.copy(self)
        moved._pivots = {}
        moved.linear_map = moved.independent = self.linear_map.to(scale).rescaled(scale)
        if self._rows is not None:
            assert isinstance(moved.linear_map, DenseMap)
            moved._rows = rescaled_rows(moved.linear_map.matrix, self._rows.rank)
            moved.independent = DenseMap(moved._rows.rows)
        before = 0.0 if self._offset is None else self._offset.to(shift)
        moved._offset = before + self.linear_map.to(shift).apply(shift)
        return moved if self.target is None else moved.with_target(self.target.to(shift) + before)

    def conditioner(self, shift: Float[Tensor, "*n"], scale: Float[Tensor, "*n"]) -> LinearConditioner:
        """Conditions Gaussians on A diag(scale) z = k - A shift, exactly."""
        return LinearConditioner(self.rescaled(shift, scale))

    def residual(self, x: Float[Tensor, "B *n"]) -> Float[Tensor, "B m"]:
        """A x - k, in the dtype of x."""
        return self._residual(x.flatten(1).double()).to(x.dtype)

    def violation(self, x: Float[Tensor, "B *n"]) -> Float[Tensor, " B"]:
        """The largest |A x - k| / (|A| |x| + |k|) of each sample; rounding alone gives a few eps."""
        flat = x.flatten(1).double()
        scale = self.linear_map.to(flat).absolute(flat) + self._targets(flat).abs()
        smallest = torch.finfo(flat.dtype).tiny
        return (self._residual(flat).abs() / scale.clamp(min=smallest)).amax(1).to(x.dtype)

    def project(self, x: Float[Tensor, "B *n"]) -> Float[Tensor, "B *n"]:
        """The nearest feasible point of each sample, exact up to the rounding of its dtype."""
        ones = torch.ones(x.shape[1:].numel(), dtype=torch.float64, device=x.device)
        return self._conditioned(x.double(), ones).mean.view_as(x).to(x.dtype)

    def complete(self, x: Float[Tensor, "B *n"]) -> Float[Tensor, "B *n"]:
        """Each sample with its last pivots solved from its other coordinates, which stay as they are."""
        giving_way = torch.zeros(x.shape[1:].numel(), dtype=torch.float64, device=x.device)
        giving_way[self.pivots(last=True).to(x.device)] = 1.0
        return self._conditioned(x.double(), giving_way).mean.view_as(x).to(x.dtype)

    def condition(
        self, mean: Float[Tensor, "B *n"], variance: Float[Tensor, "*#V"]
    ) -> tuple[Float[Tensor, "B *n"], ConditionedCovariance]:
        """Mean and covariance of N(mean, diag(variance)) given A x = k.

        Args:
            mean: means of the samples, in the data's unit.
            variance: variances of the coordinates, for all samples or per sample, at least zero.

        Raises:
            ValueError: a variance is negative or not finite.
            DegenerateGaussianError: the variances are too small for the mean to satisfy the equality.
        """
        positive = require_variances(variance)
        gaussian = self._conditioned(mean, variance)
        if not positive:
            gaussian.require_feasible_mean(unless=(variance > 0).all())
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
                f"this equality takes its targets from the variable {self.target_variable!r}: bind it with "
                "`bind`."
            )
        if self.target.ndim > 1 and self.target.shape[0] != flat.shape[-2]:
            raise ValueError(f"{self.target.shape[0]} targets were given for {flat.shape[-2]} samples.")
        return self.target.to(flat)

    def _checked_target(self, given: Tensor) -> Tensor:
        """The checked k minus the offset, in double precision."""
        if given.is_complex() or given.ndim not in (1, 2) or given.shape[-1] != self.linear_map.rows:
            raise ValueError(
                f"k must be {self.linear_map.rows} real numbers, found the shape {tuple(given.shape)} of "
                f"{given.dtype}."
            )
        target = given.double()
        message = f"k must be {self.linear_map.rows} finite numbers, found NaN or infinity among them."
        require(torch.isfinite(target).all(), lambda: ValueError(message), "the targets k are finite")
        # A batch with a single target is used for any number of samples.
        target = target[0] if target.ndim == 2 and len(target) == 1 else target
        size = target.abs()
        if self._offset is not None:
            offset = self._offset.to(target)
            target, size = target - offset, size + offset.abs()
        if self._rows is not None:
            self._rows.require_no_contradiction(target, size, max(self._eps, _rounding(given)))
        return target


def _rounding(given: Tensor) -> float:
    """Relative rounding of this dtype; that of double precision for integers."""
    return torch.finfo(given.dtype if given.dtype.is_floating_point else torch.float64).eps


def _checked_matrix(given: Tensor) -> Float[Tensor, "m n"]:
    """A in double precision."""
    if given.is_complex():
        raise ValueError("A must be real, found complex numbers.")
    matrix = given.double()
    if matrix.ndim != 2 or not matrix.numel():
        raise ValueError(f"A must be an m-by-n matrix, found the shape {tuple(matrix.shape)}.")
    if not bool(torch.isfinite(matrix).all()):
        raise ValueError("A must be a finite m-by-n matrix, found NaN or infinity in it.")
    if not bool(matrix.any()):
        raise InfeasibleConstraintError("A is zero, so it constrains nothing: give A with a nonzero entry.")
    return matrix


def _some_weight(rows: StructuredMap) -> StructuredMap:
    """The map itself, after checking that each of its rows has a nonzero weight."""
    if isinstance(rows, GroupSum) and rows.weights is None:
        return rows
    ones = torch.ones(rows.columns, dtype=torch.float64)
    empty = (rows.to(ones).absolute(ones) == 0).nonzero()
    if len(empty):
        raise InfeasibleConstraintError(
            f"the weights of group {int(empty[0])} are all zero, so it constrains nothing: remove this group."
        )
    return rows


def _pivots(matrix: Float[Tensor, "r n"], *, last: bool) -> Int[Tensor, " r"]:
    """Each coordinate, from one end, whose column is independent of those taken before (Gram-Schmidt)."""
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
