"""The covariance of a model's training data, stored with the model for the samplers that use it."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from plumbline.linalg.spectral import SpectralCovariance, covariance_of

# Number of coordinates up to which all eigenvectors are stored, and how many are stored beyond.
ALL_UP_TO, RANK = 1024, 128


class DataCovariance(nn.Module):
    """The covariance of points (N, *S) of a model's space, by its leading eigenvectors.

    Args:
        dimension: number n of coordinates of a point.
        rank: number of eigenvectors; None for all up to `ALL_UP_TO` coordinates, and `RANK` beyond.
    """

    directions: Tensor
    values: Tensor
    rest: Tensor

    def __init__(self, dimension: int, rank: int | None = None) -> None:
        super().__init__()
        if rank is None:
            rank = dimension if dimension <= ALL_UP_TO else RANK
        self.dimension, self.rank = dimension, min(rank, dimension)
        self.register_buffer("directions", torch.eye(dimension, self.rank))
        self.register_buffer("values", torch.ones(self.rank))
        self.register_buffer("rest", torch.ones(()))

    def fit(self, blocks: Iterable[Tensor]) -> None:
        """Sets the covariance to that of points that arrive in blocks, in one pass."""
        rank = None if self.rank == self.dimension else self.rank
        self.set(covariance_of(blocks, dimension=self.dimension, rank=rank))

    def set(self, covariance: SpectralCovariance) -> None:
        """Sets the covariance; of more eigenvectors than are stored, the largest are kept.

        Raises:
            ValueError: it has another dimension, or fewer eigenvectors than are stored.
        """
        if covariance.dimension != self.dimension or len(covariance.values) < self.rank:
            raise ValueError(
                f"a covariance of {self.dimension} coordinates with {self.rank} eigenvectors is expected, "
                f"found {covariance.dimension} and {len(covariance.values)}."
            )
        order = covariance.values.argsort(descending=True)
        kept, left = order[: self.rank], order[self.rank :]
        self.directions.copy_(covariance.directions[:, kept])
        self.values.copy_(covariance.values[kept])
        if len(left):
            self.rest.copy_(covariance.values[left].mean())
        elif covariance.rest is not None:
            self.rest.copy_(covariance.rest)

    def get(self) -> SpectralCovariance:
        """The covariance, in double precision."""
        rest = None if self.rank == self.dimension else self.rest.double()
        return SpectralCovariance(self.directions.double(), self.values.double(), rest)
