r"""Gradients of convex potentials and their inverses (Liu, Chen, Theodorou, Tao 2023, section 3).

    simplex   sum x = T, x > 0    g(x) = log x - mean log x
                                  f(y) = T softmax(y)
    ball      |x| < R             g(x) = 2 beta x / (R^2 - |x|^2)
                                  f(y) = R^2 y / (sqrt(R^2 |y|^2 + beta^2) + beta)
    box       low < x < high      g(x) = atanh(u), u in (-1, 1) from x
                                  f(y) = tanh(y), rescaled
    polytope  low < A x < high    g(x) = A' atanh(u) + P x, u from A x
                                  f(y) = A+ tanh(A+' y), rescaled, + P y

with A+ the pseudo-inverse of A, whose rows are linearly independent (orthonormal in the paper), A' its
transpose, and P = I - A+ A the projection onto the null space of A, on which g is the identity. A box is a
polytope with A = I. On the simplex the gradient of the entropy is defined up to a constant, to which softmax
is invariant; the symmetric choice keeps the shape of a state. f maps every point into the set.

Source: https://arxiv.org/abs/2310.01236.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from plumbline.models._preparing import PreparedInBlocks
from plumbline.models._spaces import Standardisation


class ConvexSet(nn.Module):
    """Base of the maps of states (B, *S) from a convex set to all of space, and back."""

    @abstractmethod
    def image(self, x: Float[Tensor, "B *S"]) -> Float[Tensor, "B *S"]:
        """g(x)."""

    @abstractmethod
    def restored(self, y: Float[Tensor, "B *S"]) -> Float[Tensor, "B *S"]:
        """f(y), the inverse of g."""


class Simplex(ConvexSet):
    """Positive states with a fixed sum.

    Args:
        total: T, the sum of a state.
        dimension: number of entries in a state.
        smallest: lower bound of the values in the logarithm, as a fraction of the mean value.
    """

    def __init__(self, *, total: float, dimension: int, smallest: float = 1e-4) -> None:
        super().__init__()
        self.total, self.dimension, self.smallest = total, dimension, smallest

    def image(self, x: Float[Tensor, "B *S"]) -> Float[Tensor, "B *S"]:
        """log x - mean log x."""
        logarithm = x.clamp(min=self.smallest * self.total / self.dimension).log()
        return logarithm - logarithm.mean(tuple(range(1, x.ndim)), keepdim=True)

    def restored(self, y: Float[Tensor, "B *S"]) -> Float[Tensor, "B *S"]:
        """T softmax(y)."""
        return self.total * y.flatten(1).softmax(1).view_as(y)


class Ball(ConvexSet):
    """States inside a ball.

    Args:
        radius: R.
        barrier: beta.
    """

    def __init__(self, *, radius: float = 1.0, barrier: float = 0.5) -> None:
        super().__init__()
        self.radius, self.barrier = radius, barrier

    def image(self, x: Float[Tensor, "B *S"]) -> Float[Tensor, "B *S"]:
        """2 beta x / (R^2 - |x|^2).

        Raises:
            ValueError: a state is not inside the ball.
        """
        room = self.radius**2 - _squared_norm(x)
        if bool((room <= 0).any()):
            raise ValueError(f"a state is not inside the ball of radius {self.radius}.")
        return 2 * self.barrier * x / room

    def restored(self, y: Float[Tensor, "B *S"]) -> Float[Tensor, "B *S"]:
        """R^2 y / (sqrt(R^2 |y|^2 + beta^2) + beta)."""
        square, beta = self.radius**2, self.barrier
        return square * y / (torch.sqrt(square * _squared_norm(y) + beta**2) + beta)


class Box(ConvexSet):
    """States between two bounds.

    Args:
        low: the lower bound.
        high: the upper bound.
        margin: fraction of the width; values closer to a bound are moved inwards before the map.
    """

    def __init__(self, *, low: float = 0.0, high: float = 1.0, margin: float = 1e-4) -> None:
        super().__init__()
        self.low, self.high, self.margin = low, high, margin

    def image(self, x: Float[Tensor, "B *S"]) -> Float[Tensor, "B *S"]:
        """atanh of the position between the bounds."""
        return _spread(x, self.low, self.high, self.margin)

    def restored(self, y: Float[Tensor, "B *S"]) -> Float[Tensor, "B *S"]:
        """tanh y, rescaled to the bounds."""
        return _between(y, self.low, self.high)


class Polytope(ConvexSet):
    """States between pairs of parallel faces.

    Args:
        faces: A: normals a_i, linearly independent, each with as many entries as a state.
        low: lower bounds of a_i x.
        high: upper bounds of a_i x.
        dimension: number of entries in a state.
        margin: fraction of the width; states closer to a face are moved inwards before the map.

    Raises:
        ValueError: a face has another number of entries than a state.
    """

    faces: Tensor
    inverse: Tensor
    low: Tensor
    high: Tensor

    def __init__(
        self,
        *,
        faces: Sequence[Sequence[float]],
        low: Sequence[float],
        high: Sequence[float],
        dimension: int,
        margin: float = 1e-4,
    ) -> None:
        super().__init__()
        self.margin = margin
        normals = torch.tensor(faces, dtype=torch.float64)
        if normals.shape[1] != dimension:
            raise ValueError(
                f"`faces` of {normals.shape[1]} numbers for states of {dimension}: give each face one number "
                "per coordinate."
            )
        self.register_buffer("faces", normals, persistent=False)
        self.register_buffer("inverse", torch.linalg.pinv(normals), persistent=False)
        self.register_buffer("low", torch.tensor(low, dtype=torch.float64), persistent=False)
        self.register_buffer("high", torch.tensor(high, dtype=torch.float64), persistent=False)

    def image(self, x: Float[Tensor, "B *S"]) -> Float[Tensor, "B *S"]:
        """A' atanh(u) + P x, with u the position of A x between the bounds."""
        flat = x.flatten(1)
        across = flat @ self.faces.T.to(x)
        spread = _spread(across, self.low.to(x), self.high.to(x), self.margin)
        rest = flat - across @ self.inverse.T.to(x)
        return (spread @ self.faces.to(x) + rest).view_as(x)

    def restored(self, y: Float[Tensor, "B *S"]) -> Float[Tensor, "B *S"]:
        """A+ tanh(A+' y), with tanh rescaled to the bounds, + P y."""
        flat = y.flatten(1)
        spread = flat @ self.inverse.to(y)
        across = _between(spread, self.low.to(y), self.high.to(y))
        rest = flat - spread @ self.faces.to(y)
        return (across @ self.inverse.T.to(y) + rest).view_as(y)


class AnalyticMirror(PreparedInBlocks, nn.Module):
    """A mirror map in closed form, with the interface of a learned one.

    Source: Liu, Chen, Theodorou, Tao (NeurIPS 2023), section 3, https://arxiv.org/abs/2310.01236.

    Args:
        convex_set: the set of feasible states.
        shape: the shape of a state.
    """

    def __init__(self, convex_set: ConvexSet, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.set = convex_set
        self.space = Standardisation(shape, "none")

    def image(self, z: Float[Tensor, "B *S"]) -> Float[Tensor, "B *S"]:
        """The images g(z) of states."""
        return self.set.image(z)

    @property
    def decoding_evaluations(self) -> int:
        """Network evaluations of one `decoded`: none."""
        return 0

    def decoded(self, y: Float[Tensor, "B *S"]) -> Float[Tensor, "B *S"]:
        """The states f(y) of images."""
        return self.set.restored(y)


def _squared_norm(x: Tensor) -> Tensor:
    return x.square().sum(tuple(range(1, x.ndim)), keepdim=True)


def _spread(a: Tensor, low: Tensor | float, high: Tensor | float, margin: float) -> Tensor:
    """Maps values between two bounds to the real line: atanh of their position between -1 and 1."""
    most = 1 - 2 * margin
    return torch.atanh(((a - (high + low) / 2) / ((high - low) / 2)).clamp(-most, most))


def _between(s: Tensor, low: Tensor | float, high: Tensor | float) -> Tensor:
    """The inverse of `_spread`: maps real values to between two bounds."""
    return (high + low) / 2 + (high - low) / 2 * torch.tanh(s)
