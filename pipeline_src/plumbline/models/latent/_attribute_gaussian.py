r"""A Gaussian in the latent space of an autoencoder whose mean is linear in the labels.

Ten attributes have a thousand combinations, most of them with few samples. Instead of one Gaussian per
combination there is one covariance, and a mean that each attribute shifts by its own vector, fitted by least
squares:

    z | y ~ N(m + W y, S).
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from plumbline.models import PosteriorEncoding
from plumbline.models._labels import Labels
from plumbline.models.latent._class_gaussian import LEAST_VARIANCE
from plumbline.models.latent._space import LatentSpace


class AttributeGaussian(nn.Module):
    """The regression of latent vectors (B, d) on labels (B, C), with the covariance of its residuals.

    Args:
        autoencoder: the trained autoencoder.
        wanted: computes the labels of a batch.

    Attributes:
        weights: W, with m in its last row (C + 1, d).
        root: Cholesky factor of S (d, d), the residual covariance of the posterior means plus the mean
            posterior variance.
    """

    weights: Tensor
    root: Tensor

    def __init__(self, autoencoder: PosteriorEncoding, wanted: Labels) -> None:
        super().__init__()
        self.wanted = wanted
        self.space = LatentSpace(autoencoder)
        dim = self.space.dim
        self.register_buffer("weights", torch.zeros(wanted.count + 1, dim))
        self.register_buffer("root", torch.eye(dim))

    @torch.no_grad()
    def prepare(self, data: dict[str, Tensor]) -> None:
        """Fits the Gaussian."""
        self.wanted.fit_blocks([data])
        means, variances = self.space.posterior_moments(data)
        design = self._with_one(self.wanted.of(data))
        # The pseudo-inverse allows labels that all samples share, or that depend on others.
        self.weights.copy_(torch.linalg.pinv(design.double()) @ means.double())
        residual = means - design @ self.weights
        noise = variances.mean(0) + LEAST_VARIANCE
        self.root.copy_(torch.linalg.cholesky(residual.T.cov() + torch.diag(noise)))

    def latent_draws(self, batch: dict[str, Tensor]) -> Float[Tensor, "B d"]:
        """Samples one latent vector per sample of the batch, given its labels."""
        design = self._with_one(self.wanted.of(batch))
        noise = torch.randn(len(design), len(self.root), device=design.device)
        return design @ self.weights + noise @ self.root.T

    def decode(self, z: Float[Tensor, "B d"], batch: dict[str, Tensor]) -> Float[Tensor, "B *S"]:
        """The samples of latent vectors, in the data's units."""
        return self.space.decode(z, batch)

    @staticmethod
    def _with_one(y: Float[Tensor, "B C"]) -> Float[Tensor, "B C1"]:
        return torch.cat([y, y.new_ones(len(y), 1)], dim=1)
