"""Base of the Gaussian distributions on a feasible set: marginals, and expected losses in closed form."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution
from torch.distributions import constraints as supports

from plumbline.distributions import LinearConstraint
from plumbline.distributions.losses import expected_absolute, expected_squared
from plumbline.linalg.checks import require

LOG_TWO_PI = math.log(2 * math.pi)
# Largest residual, relative to |A| |z| + |k|, for which a mean or a value counts as feasible.
FEASIBLE = 1e-4


class FeasibleGaussian(Distribution):
    """Base of the Gaussian distributions on A z = k, batched over *B.

    `_mean` and `_variance` are in double precision; public results have the dtype of the mean that was given.
    """

    has_rsample = True
    arg_constraints: dict[str, supports.Constraint] = {}  # noqa: RUF012 (as torch declares it)
    support = supports.real_vector
    dtype: torch.dtype
    constraint: LinearConstraint
    _mean: Tensor
    _variance: Tensor

    @property
    def mean(self) -> Float[Tensor, "*B n"]:
        """The mean, feasible to rounding in its dtype."""
        return self._mean.to(self.dtype)

    @property
    def variance(self) -> Float[Tensor, "*B n"]:
        """The variance of each coordinate."""
        return self._variance.to(self.dtype)

    def expected_l1(self, target: Float[Tensor, "*T n"]) -> Float[Tensor, "*B n"]:
        """E|z_i - b_i| of each coordinate, in closed form (Li et al. 2025, Proposition 5.1)."""
        return expected_absolute(self._mean - target.double(), self._variance).to(self.dtype)

    def expected_l2(self, target: Float[Tensor, "*T n"]) -> Float[Tensor, "*B n"]:
        """E(z_i - b_i)^2 of each coordinate, in closed form (Li et al. 2025, Proposition 5.1)."""
        return expected_squared(self._mean - target.double(), self._variance).to(self.dtype)

    def _require_feasible(
        self, z: Float[Tensor, "*C n"], error: type[ValueError], what: str, unless: Tensor | None = None
    ) -> None:
        z = z.detach()
        residual, rows = self.constraint.independent_residual(z), self.constraint.independent.to(z)
        scale = rows.absolute(z) + (rows.apply(z) - residual).abs()
        missed = residual.abs() / scale.clamp(min=1e-300)
        feasible = (missed <= FEASIBLE).all()  # NaN is not feasible
        require(
            feasible if unless is None else feasible | unless,
            lambda: error(f"{what} misses the equality by {float(missed.amax()):.3g} of |A| |z| + |k|."),
            f"{what} satisfies the equality",
        )
