"""The residuals of quadratic equations."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Quadratic:
    """h_j(x) = x^T Q_j x / 2 + b_j . x + c_j of the flattened sample; its Hessians are the Q_j.

    Attributes:
        matrices: Q (m, n, n), symmetric.
        vectors: b (m, n).
        constants: c (m,).
    """

    matrices: Tensor
    vectors: Tensor
    constants: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """The residuals (B, m) of samples x (B, *S), in their dtype."""
        flat = x.flatten(1)
        matrices, vectors, constants = (
            t.to(x.device, x.dtype) for t in (self.matrices, self.vectors, self.constants)
        )
        squares = torch.einsum("bi,mij,bj->bm", flat, matrices, flat)
        return squares / 2 + flat @ vectors.mT + constants

    def require(self, coordinates: int) -> None:
        """Checks that the equations are for samples with this number of coordinates.

        Raises:
            ValueError: a shape does not fit, or a matrix is not symmetric.
        """
        count = len(self.constants) if self.constants.ndim == 1 else 0
        shapes = {"matrices": (count, coordinates, coordinates), "vectors": (count, coordinates)}
        for name, expected in {**shapes, "constants": (count,)}.items():
            found = tuple(getattr(self, name).shape)
            if not count or found != expected:
                raise ValueError(
                    f"`quadratic`: `{name}` must have the shape {expected} for {count} equations of "
                    f"{coordinates} coordinates, found {found}."
                )
        if not torch.allclose(self.matrices, self.matrices.mT):
            raise ValueError("`quadratic`: `matrices` must be symmetric: use (Q + Q^T) / 2.")
