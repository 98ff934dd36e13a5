r"""A covariance stored by its leading eigenvectors, and functions of it.

With orthonormal columns Q of shape (n, r), eigenvalues l and one eigenvalue rho for all other directions,

    C = Q diag(l) Q^T + rho (I - Q Q^T),        f(C) = Q diag(f(l)) Q^T + f(rho) (I - Q Q^T).

If r = n, this is any covariance. If r < n, it is that of probabilistic principal component analysis (Tipping
and Bishop 1999, https://doi.org/10.1111/1467-9868.00196). r = 0 gives rho I.

The main use is the posterior covariance of a diffusion model. If x ~ N(m, C) and x_t = alpha x + sigma e,

    Cov[x | x_t] = (C^{-1} + alpha^2 / sigma^2 I)^{-1} = f(C),    f(c) = c sigma^2 / (alpha^2 c + sigma^2),

so that one decomposition of C serves all noise levels. For a linear map A with image W = A Q,

    A C A^T = W diag(l) W^T                                   (r = n),
    A C A^T = rho A A^T + W diag(l - rho) W^T                 (r < n),

where the second form keeps the structure of A A^T and takes O(m r^2 + r^3) by the Woodbury identity. W and
A A^T do not depend on f and are computed once per A.

`covariance_of` computes C from data that arrives in blocks. If C is too large to be formed, it uses the
Nystrom approximation from Y = C Omega, with a random test matrix Omega of r + `OVERSAMPLING` orthonormal
columns (Tropp, Yurtsever, Udell, Cevher 2017, https://arxiv.org/abs/1706.05736). This takes one pass over the
data. rho is then the mean of the variances that are left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from plumbline.linalg.checks import require_symmetric
from plumbline.linalg.conditioning import ConditionedCovariance
from plumbline.linalg.gram import (
    FactoredGram,
    FactoredRows,
    Gram,
    LinearMap,
    LowRankGram,
    ScaledGram,
    cholesky,
)
from plumbline.linalg.running import RunningProducts

# Number of columns of the test matrix beyond the wanted rank.
OVERSAMPLING = 16
# Eigenvalues are at least this fraction of their mean, so that covariances can be inverted.
SMALLEST_FRACTION = 1e-6


@dataclass(frozen=True)
class SpectralImage:
    """W = A Q and the map A, from which A f(C) A^T is factored for any f.

    Attributes:
        linear_map: A.
        image: W.
    """

    linear_map: FactoredRows
    image: Float[Tensor, "m r"]

    def gram(self, values: Float[Tensor, " r"], rest: Tensor | None) -> Gram:
        """The factored A C A^T for these eigenvalues of C.

        Args:
            values: l.
            rest: rho, at most the smallest of l; None if r = n.

        Raises:
            DegenerateGaussianError: a row of A has too little variance.
        """
        if rest is None and getattr(self.linear_map, "dependent", False):
            rest = values.min()  # A A^T then comes with its pseudo-inverse
        if rest is None:
            product = (self.image * values) @ self.image.mT
            return FactoredGram(cholesky(product, "A C A^T (an equality has too little variance)"))
        base = ScaledGram(self.linear_map.unit_gram, rest, len(self.image))
        if not self.image.shape[1]:
            return base
        update = self.image * (values - rest).clamp(min=0).sqrt()
        solved = base.solve(update.mT).mT
        identity = torch.eye(update.shape[1], dtype=update.dtype, device=update.device)
        capacity = FactoredGram(cholesky(identity + update.mT @ solved, "I + W^T G^{-1} W"))
        return LowRankGram(base, update, capacity)


@dataclass(frozen=True)
class SpectralCovariance:
    """C = Q diag(l) Q^T + rho (I - Q Q^T), a `Covariance` without a batch.

    Attributes:
        directions: Q, with orthonormal columns.
        values: l, positive.
        rest: rho (), positive and at most the smallest of l; None if Q has n columns.

    Example:
        >>> import torch
        >>> c = SpectralCovariance(torch.eye(3)[:, :1], torch.tensor([4.0]), torch.tensor(1.0))
        >>> c.mapped(torch.sqrt).matmul(torch.ones(3))
        tensor([2., 1., 1.])
    """

    directions: Float[Tensor, "n r"]
    values: Float[Tensor, " r"]
    rest: Float[Tensor, ""] | None = None

    @classmethod
    def isotropic(cls, variance: Float[Tensor, ""], dimension: int) -> SpectralCovariance:
        """v I in `dimension` coordinates."""
        return cls(variance.new_zeros(dimension, 0), variance.new_zeros(0), variance)

    @classmethod
    def of(cls, matrix: Float[Tensor, "n n"]) -> SpectralCovariance:
        """The covariance that a matrix holds, with eigenvalues of at least `SMALLEST_FRACTION` of their mean.

        Raises:
            ValueError: the matrix is not symmetric, or has a variance that is not positive.
        """
        require_symmetric(matrix)
        values, directions = torch.linalg.eigh(matrix.double())
        return cls(directions, torch.maximum(values, _smallest(values.sum(), len(values))))

    @property
    def batch_shape(self) -> torch.Size:
        return torch.Size()

    @property
    def dimension(self) -> int:
        return self.directions.shape[0]

    def to(self, like: Tensor) -> SpectralCovariance:
        """The covariance in the dtype and on the device of `like`."""
        rest = None if self.rest is None else self.rest.to(like)
        return SpectralCovariance(self.directions.to(like), self.values.to(like), rest)

    def double(self) -> SpectralCovariance:
        return self.to(self.values.double())

    def mapped(self, function: Callable[[Tensor], Tensor]) -> SpectralCovariance:
        """f(C) for a function f of eigenvalues that is positive and does not decrease."""
        rest = None if self.rest is None else function(self.rest)
        return SpectralCovariance(self.directions, function(self.values), rest)

    def posterior(self, alpha: Tensor, sigma: Tensor) -> SpectralCovariance:
        """Cov[x | alpha x + sigma e] for x with this covariance: (C^{-1} + alpha^2 / sigma^2 I)^{-1}."""
        return self.mapped(lambda c: c * sigma**2 / (alpha**2 * c + sigma**2))

    def root(self) -> SpectralCovariance:
        """C^{1/2}, the symmetric square root."""
        return self.mapped(torch.sqrt)

    def matmul(self, x: Float[Tensor, "*C n"]) -> Float[Tensor, "*C n"]:
        return self._applied(self.values, self.rest, x)

    def inverse(self, x: Float[Tensor, "*C n"]) -> Float[Tensor, "*C n"]:
        return self._applied(1 / self.values, None if self.rest is None else 1 / self.rest, x)

    def diagonal(self) -> Float[Tensor, " n"]:
        square = self.directions.square()
        along = square @ self.values
        return along if self.rest is None else along + self.rest * (1 - square.sum(1))

    def logdet(self) -> Float[Tensor, ""]:
        along = self.values.log().sum()
        if self.rest is None:
            return along
        return along + (self.dimension - len(self.values)) * self.rest.log()

    def draw(self, shape: torch.Size) -> Float[Tensor, "*C n"]:
        noise = torch.randn(shape, dtype=self.values.dtype, device=self.values.device)
        return self.root().matmul(noise)

    def image(self, linear_map: FactoredRows) -> SpectralImage:
        """W = A Q, from which `SpectralImage.gram` factors A f(C) A^T for any f."""
        if not len(self.values):  # some maps cannot be applied to no vectors
            rows = linear_map.apply(self.directions.new_zeros(self.dimension)).shape[0]
            return SpectralImage(linear_map, self.directions.new_zeros(rows, 0))
        return SpectralImage(linear_map, linear_map.apply(self.directions.mT).mT)

    def gram(self, linear_map: LinearMap) -> Gram:
        return self.image(linear_map).gram(self.values, self.rest)

    def conditional_variance(self, linear_map: LinearMap, gram: Gram) -> Float[Tensor, " n"]:
        conditioned = ConditionedCovariance(self, linear_map, gram)
        return conditioned.dense().diagonal(dim1=-2, dim2=-1).clamp(min=0)

    def trace_of_inverse_times(self, other: ConditionedCovariance) -> Float[Tensor, ""]:
        return self.inverse(other.dense()).diagonal(dim1=-2, dim2=-1).sum(-1)

    def _applied(self, values: Tensor, rest: Tensor | None, x: Tensor) -> Tensor:
        inner = x @ self.directions
        if rest is None:
            return (inner * values) @ self.directions.mT
        return rest * x + (inner * (values - rest)) @ self.directions.mT


def covariance_of(blocks: Iterable[Tensor], *, dimension: int, rank: int | None) -> SpectralCovariance:
    """The covariance of samples that arrive in blocks, in double precision and in one pass.

    Args:
        blocks: some of the samples (N, n) each; N may differ.
        dimension: n.
        rank: number r of eigenvectors; None for all, which forms an n-by-n matrix.

    Returns:
        The covariance, with eigenvalues of at least `SMALLEST_FRACTION` of their mean.

    Raises:
        ValueError: there are no samples.
    """
    if rank is None or rank + OVERSAMPLING >= dimension:
        return _all_directions(blocks, dimension)
    generator = torch.Generator().manual_seed(0)
    test = torch.randn(dimension, rank + OVERSAMPLING, generator=generator, dtype=torch.float64)
    count, total, sketch, squares, origin = 0, torch.zeros(()), torch.zeros(()), torch.zeros(()), None
    for block in blocks:
        if origin is None and len(block):
            origin = block[0].double()
            test = torch.linalg.qr(test.to(origin.device)).Q
            total, sketch, squares = torch.zeros_like(origin), torch.zeros_like(test), origin.new_zeros(())
        for x in block.split(max(1, 2**22 // dimension)):
            assert origin is not None
            z = x.double() - origin
            count, total = count + len(z), total + z.sum(0)
            sketch, squares = sketch + z.mT @ (z @ test), squares + z.square().sum()
    _require_samples(count)
    mean = total / count
    sketch = sketch / count - torch.outer(mean, mean @ test)
    trace = squares / count - mean.square().sum()
    # Nystrom's approximation Y (Omega^T Y)^{-1} Y^T, shifted so that the factorisation is stable.
    shift = torch.finfo(torch.float64).eps * sketch.norm().clamp(min=1e-300) * 10
    sketch = sketch + shift * test
    inner = test.mT @ sketch
    factor = cholesky((inner + inner.mT) / 2, "Omega^T C Omega")
    left, singular, _ = torch.linalg.svd(
        torch.linalg.solve_triangular(factor, sketch.mT, upper=False).mT, full_matrices=False
    )
    values = (singular[:rank].square() - shift).clamp(min=0)
    rest = (trace - values.sum()) / (dimension - rank)
    rest = torch.maximum(rest, _smallest(trace, dimension))
    return SpectralCovariance(left[:, :rank].contiguous(), torch.maximum(values, rest), rest)


def _all_directions(blocks: Iterable[Tensor], dimension: int) -> SpectralCovariance:
    found = RunningProducts()
    for block in blocks:
        for x in block.split(max(1, 2**22 // dimension)):
            found.add(x)
    _require_samples(found.count)
    values, directions = torch.linalg.eigh(found.products / found.count)
    return SpectralCovariance(directions, torch.maximum(values, _smallest(values.sum(), dimension)))


def _smallest(trace: Tensor, dimension: int) -> Tensor:
    """The smallest eigenvalue that is kept, for a covariance of this trace."""
    return (SMALLEST_FRACTION * trace / dimension).clamp(min=torch.finfo(trace.dtype).tiny)


def _require_samples(count: int) -> None:
    if not count:
        raise ValueError("the covariance of no samples: the training data is empty.")
