r"""The linear equality A x = k.

With the singular value decomposition A = U S V^T of rank r, the equality says the same as

    V_r^T x = S_r^{-1} U_r^T k

if k lies in the range of A, and nothing can satisfy it otherwise. These rows are independent and orthonormal:
rows of A that depend on others drop out, and the nearest feasible point, x + V_r (S_r^{-1} U_r^T k - V_r^T x), is
exact to rounding even where A A^T is nearly singular. Residuals and corrections are formed in double precision.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from plumbline.constraints import Constraint, InfeasibleConstraintError
from plumbline.constraints.linear.maps import Dense, GroupSum
from plumbline.distributions.conditioning import ConditionedCovariance, conditioned_gaussian

if TYPE_CHECKING:
    import xarray as xr

# Relative size under which a singular value is zero, and a target is outside the range of A.
RANK_TOLERANCE = 1e-10


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
        matrix: Float[Tensor, "m n"] | GroupSum,
        target: Float[Tensor, "*B m"] | None,
        *,
        target_variable: str | None = None,
        unit: str = "1",
    ) -> None:
        self.unit = unit
        self.target_variable = target_variable
        self._to_independent: Tensor | None = None
        if isinstance(matrix, GroupSum):
            self.linear_map: Dense | GroupSum = matrix
            self.independent: Dense | GroupSum = matrix
        else:
            matrix = matrix.double()
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
        if isinstance(self.independent, Dense):
            return self.independent.matrix
        return torch.nn.functional.one_hot(self.independent.groups).mT.double()

    def shortfall(self, x: Float[Tensor, "B *n"]) -> Float[Tensor, "B r"]:
        """What the rows of `matrix` lack to be feasible, in double precision."""
        return self._to_rows(-self._residual(x.flatten(1).double()))

    def given(self, known: xr.Dataset) -> LinearEquality:
        """The equality with the targets of the samples in `known`, if it takes one a sample."""
        if self.target_variable is None:
            return self
        return self.with_target(torch.as_tensor(known[self.target_variable].values))

    def with_target(self, target: Float[Tensor, "*B m"]) -> LinearEquality:
        """The same A with another k."""
        bound = object.__new__(LinearEquality)
        bound.__dict__.update(self.__dict__)
        bound.target = bound._checked_target(target)
        return bound

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
        ones = torch.ones(1, x[0].numel(), dtype=torch.float64, device=x.device)
        projected, _ = self.condition(x.double(), ones)
        return projected.to(x.dtype)

    def condition(
        self, mean: Float[Tensor, "B *n"], variance: Float[Tensor, "*#V"]
    ) -> tuple[Float[Tensor, "B *n"], ConditionedCovariance]:
        """Mean and covariance of N(mean, diag(variance)) given A x = k.

        Args:
            mean: means of the samples, in the data's unit.
            variance: variances of the coordinates, for all samples or one a sample.

        Raises:
            torch.linalg.LinAlgError: the variance leaves no freedom to meet an equality.
        """
        flat = mean.flatten(1).double()
        spread = variance.double().reshape(-1, flat.shape[1])
        independent = self.independent.to(flat)
        target = self._to_rows(self._targets(flat).expand(len(flat), -1))
        conditional_mean, covariance = conditioned_gaussian(flat, spread, independent, target)
        # Mixing rows of unequal size leaves the small ones the rounding of the large. The residual of A itself
        # is exact row by row, and one more correction by it is enough.
        multipliers = covariance.gram.solve(self.shortfall(conditional_mean))
        conditional_mean = conditional_mean + spread * independent.adjoint(multipliers)
        return conditional_mean.view_as(mean).to(mean.dtype), covariance

    def _residual(self, flat: Tensor) -> Tensor:
        return self.linear_map.to(flat).apply(flat) - self._targets(flat)

    def _targets(self, flat: Tensor) -> Tensor:
        if self.target is None:
            raise ValueError(
                f"this equality takes its target from {self.target_variable!r}, one a sample: bind it with `given`."
            )
        target = self.target.to(flat)
        if target.shape[0] not in (1, flat.shape[0]):
            raise ValueError(f"{target.shape[0]} targets were given for {flat.shape[0]} samples.")
        return target

    def _to_rows(self, values: Tensor) -> Tensor:
        """From values of the rows of A to those of the rows of `matrix`."""
        return values if self._to_independent is None else values @ self._to_independent.to(values)

    def _checked_target(self, target: Tensor) -> Tensor:
        target = torch.atleast_2d(target.double())
        if target.shape[-1] != self.linear_map.rows or not torch.isfinite(target).all():
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
