r"""A Gaussian with any covariance, conditioned on a constraint.

For x ~ N(m, V), a conditioner computes an approximation m' of the mean of x given the constraint, and log
psi, the logarithm of the density (for equations) or the probability (for inequalities) of the constraint.

**Linear equalities** A x = k, with r = A m - k and G = A V A^T (exact):

    m' = m - V A^T G^{-1} r,    log psi = log N(r; 0, G).

**Smooth equations** h(x) = 0, by the first two moments of h(x). With the Jacobian J and the second
derivatives H_j at m,

    E h_j   = h_j(m) + tr(H_j V) / 2,
    G_ij    = Cov(h_i, h_j) = J_i V J_j^T + tr(H_i V H_j V) / 2,
    m'      = m - V J^T G^{-1} E h,    log psi = log N(E h; 0, G),

which is exact for quadratic h up to the shape of the distribution of h. Second derivatives are used where a
sample has at most `MOST_SECOND_DERIVATIVES` of them; beyond that, h is linearised.

log N(E h; 0, G) approximates the density of h(x) at zero. It belongs to *conditioning* on h(x) = 0, the limit
of |h(x)| < eps. *Restricting* the density of x to the surface h(x) = 0 is the limit of a tube of constant
width, for which psi has the further factor det(J J^T)^{1/2}. Both agree for linear h.

**Inequalities** l <= N x <= u, by expectation propagation (`plumbline.distributions.truncated_gaussian`):
exact for one row. Together with equations, these are applied first, and the inequalities to the Gaussian that
results.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from plumbline.constraints._linearisation import DenseLinearisation, log_volume
from plumbline.constraints._nearest import is_large
from plumbline.distributions.truncated_gaussian import log_interval_probability, truncated_gaussian
from plumbline.distributions.truncated_normal import truncated_moments
from plumbline.linalg.checks import require
from plumbline.linalg.gram import DegenerateGaussianError, FactoredRows, Gram
from plumbline.linalg.spectral import SpectralCovariance, SpectralImage

# Number of second derivatives of the residual of a sample, m n^2, up to which they are computed.
MOST_SECOND_DERIVATIVES = 2**15
# Number of rows of inequalities up to which they are treated together.
MOST_ROWS = 256
# Smallest eigenvalue of G for rows of unit length, as a fraction of the largest posterior variance.
LEAST_VARIANCE = 1e-5


@dataclass(frozen=True)
class Conditioned:
    """A Gaussian given a constraint.

    Attributes:
        mean: m'.
        log_probability: log psi.
        covariances: V' N^T as rows, (r, n) or (B, r, n), for rows N (r, n); V' is the covariance given the
            constraint.
        log_volume: log det(J J^T) / 2, the factor of psi that turns conditioning into restriction; zero for
            linear constraints.
    """

    mean: Float[Tensor, "B n"]
    log_probability: Float[Tensor, " B"]
    covariances: Callable[[Tensor], Tensor]
    log_volume: Float[Tensor, " B"]


@runtime_checkable
class Conditioner(Protocol):
    """Conditions Gaussians on a constraint."""

    def __call__(self, mean: Float[Tensor, "B n"], covariance: SpectralCovariance) -> Conditioned:
        """The Gaussian N(mean, covariance) given the constraint, in double precision."""
        ...


@runtime_checkable
class LinearEquations(Protocol):
    """A x = k on flattened points, by independent rows of A."""

    @property
    def independent(self) -> FactoredRows:
        """The rows, as a map from (*B, n) to (*B, r)."""
        ...

    def independent_residual(self, x: Tensor) -> Tensor:
        """Their residuals (*B, r) at points (*B, n), in double precision."""
        ...


class LinearConditioner:
    """Conditions on A x = k.

    Args:
        equality: A x = k, with one k for all samples or one for each.
    """

    def __init__(self, equality: LinearEquations) -> None:
        self.equality = equality
        self._seen: tuple[Tensor, SpectralImage] | None = None

    def __call__(self, mean: Float[Tensor, "B n"], covariance: SpectralCovariance) -> Conditioned:
        """The Gaussian given A x = k.

        Raises:
            DegenerateGaussianError: a row of A has too little variance.
        """
        rows = self.equality.independent.to(mean)
        residual = self.equality.independent_residual(mean)
        gram = self.gram(covariance)
        solved = gram.solve(residual)
        moved = mean - covariance.matmul(rows.adjoint(solved))
        count = residual.shape[1]
        log_probability = -((residual * solved).sum(1) + gram.logdet() + count * math.log(2 * math.pi)) / 2

        def covariances(others: Tensor) -> Tensor:
            scaled = covariance.matmul(others)
            return scaled - covariance.matmul(rows.adjoint(gram.solve(rows.apply(scaled))))

        return Conditioned(moved, log_probability, covariances, torch.zeros_like(log_probability))

    def gram(self, covariance: SpectralCovariance) -> Gram:
        """The factored A V A^T for the independent rows of A.

        Raises:
            DegenerateGaussianError: a row of A has too little variance.
        """
        return self._image(covariance).gram(covariance.values, covariance.rest)

    def _image(self, covariance: SpectralCovariance) -> SpectralImage:
        """W = A Q, which all noise levels share."""
        if self._seen is None or self._seen[0] is not covariance.directions:
            rows = self.equality.independent.to(covariance.directions)
            self._seen = covariance.directions, covariance.image(rows)
        return self._seen[1]


class SmoothConditioner:
    """Conditions on h(x) = 0 by the first two moments of h.

    Args:
        residual: h, a differentiable function from (B, n) to (B, m).
    """

    def __init__(self, residual: Callable[[Tensor], Tensor]) -> None:
        self.residual = residual
        self._equations: int | None = None

    def __call__(self, mean: Float[Tensor, "B n"], covariance: SpectralCovariance) -> Conditioned:
        """The Gaussian given h(x) = 0.

        Raises:
            ValueError: the Jacobian of h is too large to be formed.
        """
        count = self._count(mean)
        linear = DenseLinearisation(self.residual, mean)
        lengths = linear.lengths
        rows = linear.jacobian / lengths[..., None]
        columns = covariance.matmul(rows)
        gram = columns @ rows.mT
        expected = linear.residual / lengths
        if rows.shape[1] * rows.shape[2] ** 2 <= MOST_SECOND_DERIVATIVES:
            second = linear.second_derivatives() / lengths[..., None, None]
            curved = covariance.matmul(second)
            expected = expected + curved.diagonal(dim1=-2, dim2=-1).sum(-1) / 2
            gram = gram + torch.einsum("bipq,bjqp->bij", curved, curved) / 2
        values, vectors = torch.linalg.eigh((gram + gram.mT) / 2)
        largest = covariance.values.max() if len(covariance.values) else covariance.rest
        assert largest is not None
        values = torch.maximum(values, LEAST_VARIANCE * largest)
        along = (vectors.mT @ expected[..., None]).squeeze(-1)
        solved = (vectors @ (along / values)[..., None]).squeeze(-1)
        moved = mean - (solved[:, None] @ columns).squeeze(1)
        log_lengths = lengths.log().sum(1)
        log_probability = (
            -((along**2 / values + values.log()).sum(1) + count * math.log(2 * math.pi)) / 2 - log_lengths
        )

        def covariances(others: Tensor) -> Tensor:
            scaled = covariance.matmul(others)
            across = vectors.mT @ (columns @ others.mT)
            return scaled - (across / values[..., None]).mT @ (vectors.mT @ columns)

        return Conditioned(moved, log_probability, covariances, log_volume(linear.jacobian))

    def _count(self, mean: Float[Tensor, "B n"]) -> int:
        """The number of equations, found out once."""
        if self._equations is None:
            with torch.no_grad():
                count = self.residual(mean).shape[1]
            if is_large(count, mean.shape[1]):
                raise ValueError(
                    f"a Gaussian is conditioned on equations by their Jacobian, and {count} equations of "
                    f"{mean.shape[1]} coordinates are too many: project instead."
                )
            self._equations = count
        return self._equations


class IntervalConditioner:
    """Conditions on l <= N x <= u.

    Args:
        rows: N.
        lower: l, for all samples or one for each.
        upper: u.
        first: conditions on equations before; None for no equations.

    Raises:
        ValueError: there are more than `MOST_ROWS` rows.
    """

    def __init__(
        self,
        rows: Float[Tensor, "r n"],
        lower: Float[Tensor, "*#B r"],
        upper: Float[Tensor, "*#B r"],
        *,
        first: Conditioner | None = None,
    ) -> None:
        self.rows, self.lower, self.upper, self.first = _few(rows), lower, upper, first

    def __call__(self, mean: Float[Tensor, "B n"], covariance: SpectralCovariance) -> Conditioned:
        """The Gaussian given the inequalities.

        Raises:
            DegenerateGaussianError: the equations leave a row no variance.
        """
        rows = self.rows.to(mean)
        if self.first is None:
            none = mean.new_zeros(len(mean))
            before = Conditioned(mean, none, covariance.matmul, none)
        else:
            before = self.first(mean, covariance)
        columns = before.covariances(rows)
        spread = columns @ rows.mT
        spread = (spread + spread.mT) / 2
        require(
            (spread.diagonal(dim1=-2, dim2=-1) > 0).all(),
            lambda: DegenerateGaussianError("the equations leave an inequality no variance: remove its row."),
            "inequalities have variance",
        )
        found = truncated_gaussian(before.mean @ rows.mT, spread, self.lower.to(mean), self.upper.to(mean))
        moved = before.mean + (found.weights[:, None] @ columns).squeeze(1)

        def covariances(others: Tensor) -> Tensor:
            scaled = before.covariances(others)
            return scaled - scaled @ rows.mT @ found.reduction @ columns

        return Conditioned(
            moved, before.log_probability + found.log_probability, covariances, before.log_volume
        )


class CoordinateConditioner:
    """Conditions on l_i <= x_i <= u_i for some coordinates i.

    If the covariance is a multiple of the identity, coordinates are independent, and any number of them is
    conditioned on exactly.

    Args:
        places: the coordinates i (r,).
        dimension: number n of coordinates of x.
        lower: l, for all samples or one for each.
        upper: u.
    """

    def __init__(
        self, places: Int[Tensor, " r"], dimension: int, lower: Float[Tensor, "*#B r"], upper: Tensor
    ) -> None:
        self.places, self.dimension, self.lower, self.upper = places, dimension, lower, upper

    def __call__(self, mean: Float[Tensor, "B n"], covariance: SpectralCovariance) -> Conditioned:
        """The Gaussian given the bounds.

        Raises:
            ValueError: coordinates are correlated, and more than `MOST_ROWS` are bounded.
        """
        if len(covariance.values):
            return self.intervals()(mean, covariance)
        assert covariance.rest is not None
        variance, places = covariance.rest, self.places.to(mean.device)
        own, lower, upper = mean[:, places], self.lower.to(mean), self.upper.to(mean)
        lower, upper = lower.expand(own.shape), upper.expand(own.shape)
        wanted, spread = truncated_moments(own, variance.expand(own.shape), lower, upper)
        moved = mean.clone()
        moved[:, places] = wanted
        variances = variance.expand(mean.shape).clone()
        variances[:, places] = spread
        log_probability = log_interval_probability(own, variance.expand(own.shape), lower, upper).sum(1)
        return Conditioned(
            moved,
            log_probability,
            lambda others: others * variances[:, None],
            torch.zeros_like(log_probability),
        )

    def intervals(self) -> IntervalConditioner:
        """The same as rows, for a Gaussian with any covariance.

        Raises:
            ValueError: more than `MOST_ROWS` coordinates are bounded.
        """
        _few(self.places)
        rows = torch.zeros(len(self.places), self.dimension, dtype=torch.float64, device=self.places.device)
        rows[torch.arange(len(self.places), device=rows.device), self.places] = 1.0
        return IntervalConditioner(rows, self.lower, self.upper)


def _few(rows: Tensor) -> Tensor:
    """The rows (r, ...), of which there are not too many."""
    if len(rows) > MOST_ROWS:
        raise ValueError(
            f"a Gaussian is conditioned on at most {MOST_ROWS} inequalities together, found {len(rows)}: "
            "set `covariance: isotropic`, or project."
        )
    return rows
