r"""A Gaussian in the latent space of an autoencoder whose mean is linear in the labels.

Ten attributes have a thousand combinations, most of which few samples have. With all attributes at once the Gaussian
has one covariance, and a mean that each attribute moves by its own vector, by least squares:

    z | y ~ N(m + W y, S).
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from plumbline.models.latent._class_gaussian import LEAST_VARIANCE
from plumbline.models.latent._space import LatentSpace


class AttributeGaussian(nn.Module):
    """The regression of latent vectors (B, d) on labels (B, C), and the root of the covariance of what it leaves.

    Attributes:
        weights: W and, in its last row, m (C + 1, d).
        root: Cholesky factor of S (d, d): the covariance of what the posterior means leave plus the mean of its variances.
    """

    weights: Tensor
    root: Tensor

    def __init__(self, autoencoder: Any, wanted: Any) -> None:
        super().__init__()
        self.wanted = wanted
        self.space = LatentSpace(autoencoder)
        numbers = self.space.numbers
        self.register_buffer("weights", torch.zeros(wanted.count + 1, numbers))
        self.register_buffer("root", torch.eye(numbers))

    @torch.no_grad()
    def prepare(self, data: dict[str, Tensor]) -> None:
        """Fits the Gaussian."""
        self.wanted.fit(data)
        means, variances = self.space.posterior_moments(data)
        known = self._with_one(self.wanted.of(data))
        # The pseudo-inverse takes labels that all samples share, or that follow from others.
        self.weights.copy_(torch.linalg.pinv(known.double()) @ means.double())
        left = means - known @ self.weights
        noise = variances.mean(0) + LEAST_VARIANCE
        self.root.copy_(torch.linalg.cholesky(left.T.cov() + torch.diag(noise)))

    def latent_draws(self, batch: dict[str, Tensor]) -> Float[Tensor, "B d"]:
        """A draw of the Gaussian of each sample's labels."""
        known = self._with_one(self.wanted.of(batch))
        return (
            known @ self.weights + torch.randn(len(known), len(self.root), device=known.device) @ self.root.T
        )

    def decode(self, z: Float[Tensor, "B d"], batch: dict[str, Tensor]) -> Float[Tensor, "B *S"]:
        """The samples of latent vectors, in the data's units."""
        return self.space.decode(z, batch)

    @staticmethod
    def _with_one(y: Float[Tensor, "B C"]) -> Float[Tensor, "B C1"]:
        return torch.cat([y, y.new_ones(len(y), 1)], dim=1)
