r"""Several linear maps A_1, A_2, ... stacked into one, without a matrix.

The Gram matrix A V A^T of the stacked map has the blocks A_i V A_i^T on its diagonal, and each map can solve
systems with its own block. The whole system is solved by conjugate gradients, with the diagonal blocks as
preconditioner. Rows of different maps may depend on each other, provided that the targets do not contradict
each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from plumbline.linalg.gram import LeverageGram
from plumbline.linalg.iterative import conjugate_gradients
from plumbline.linalg.maps import DenseMap, StructuredMap

# Relative residual at which conjugate gradients stop, and the maximum number of iterations.
SOLVED, MOST_ITERATIONS = 1e-13, 2000


@dataclass(frozen=True)
class IterativeGram:
    """A V A^T, available only by its products with vectors; operations that need a factor raise an error."""

    stacked: StackedMap
    variance: Float[Tensor, "*B n"]

    @property
    def rows(self) -> int:
        """The number of equalities m."""
        return self.stacked.rows

    @cached_property
    def blocks(self) -> list[LeverageGram]:
        """The Gram matrix of each map."""
        return [part.gram(self.variance) for part in self.stacked.maps]

    def solve(self, residual: Float[Tensor, "*C m"]) -> Float[Tensor, "*C m"]:
        """G^{-1} r, by conjugate gradients."""

        def apply(y: Tensor) -> Tensor:
            return self.stacked.apply(self.variance * self.stacked.adjoint(y))

        def precondition(y: Tensor) -> Tensor:
            parts = y.split(self.stacked.sizes, -1)
            return torch.cat([block.solve(part) for block, part in zip(self.blocks, parts, strict=True)], -1)

        return conjugate_gradients(
            apply, residual, tolerance=SOLVED, iterations=MOST_ITERATIONS, precondition=precondition
        )[0]

    def logdet(self) -> Float[Tensor, "*B"]:
        """Not available without a factor.

        Raises:
            NotImplementedError: always.
        """
        raise _needs_a_matrix("log det A V A^T")

    def leverage(self) -> Float[Tensor, "*B n"]:
        """Not available without a factor.

        Raises:
            NotImplementedError: always.
        """
        raise _needs_a_matrix("the diagonal of the conditional covariance")

    def leverage_through(self, other: LeverageGram) -> Float[Tensor, "*B n"]:
        """Not available without a factor.

        Raises:
            NotImplementedError: always.
        """
        raise _needs_a_matrix("the diagonal of the conditional covariance")


@dataclass(frozen=True)
class StackedMap:
    """Linear maps on the same coordinates, stacked row by row."""

    maps: tuple[DenseMap | StructuredMap, ...]
    device: torch.device | None = None

    @property
    def sizes(self) -> list[int]:
        """The number of rows of each map."""
        return [part.rows for part in self.maps]

    @property
    def rows(self) -> int:
        """The number of equalities m."""
        return sum(self.sizes)

    @property
    def columns(self) -> int:
        """The number of coordinates n."""
        return self.maps[0].columns

    def to(self, like: Tensor) -> StackedMap:
        """The map in the dtype and on the device of `like`."""
        return StackedMap(tuple(part.to(like) for part in self.maps), like.device)

    def apply(self, x: Float[Tensor, "*B n"]) -> Float[Tensor, "*B m"]:
        """A x."""
        return torch.cat([part.apply(x) for part in self.maps], -1)

    def absolute(self, x: Float[Tensor, "*B n"]) -> Float[Tensor, "*B m"]:
        """|A| |x|."""
        return torch.cat([part.absolute(x) for part in self.maps], -1)

    def adjoint(self, y: Float[Tensor, "*B m"]) -> Float[Tensor, "*B n"]:
        """A^T y."""
        first, *others = (
            part.adjoint(of) for part, of in zip(self.maps, y.split(self.sizes, -1), strict=True)
        )
        return sum(others, start=first)

    def gram(self, variance: Float[Tensor, "*B n"]) -> IterativeGram:
        """A V A^T for V = diag(variance), without a factor."""
        return IterativeGram(self, variance)

    @cached_property
    def unit_gram(self) -> IterativeGram:
        """A A^T, without a factor."""
        return IterativeGram(self, torch.ones(self.columns, dtype=torch.float64, device=self.device))

    def rescaled(self, scale: Float[Tensor, " n"]) -> StackedMap:
        """A diag(scale)."""
        return StackedMap(tuple(part.rescaled(scale) for part in self.maps))

    def dense(self) -> Float[Tensor, "m n"]:
        """A as a matrix, for small n."""
        return torch.cat([part.dense() for part in self.maps])

    def pivots(self, *, last: bool) -> Int[Tensor, " m"]:
        """Not available without a matrix.

        Raises:
            NotImplementedError: always.
        """
        raise _needs_a_matrix("the coordinates that the equalities can be solved for")


def _needs_a_matrix(what: str) -> NotImplementedError:
    return NotImplementedError(
        f"{what}: this needs a factor of A V A^T, and these constraints are together too large to form it: "
        "use fewer of them, or a method that only projects or conditions."
    )
