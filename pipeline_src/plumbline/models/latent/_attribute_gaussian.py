r"""A Gaussian in the latent space of an autoencoder whose mean is linear in the labels.

Ten attributes have a thousand combinations, most of them with few samples. Instead of one Gaussian per
combination there is one covariance, and a mean that each attribute shifts by its own vector, fitted by least
squares:

    z | y ~ N(m + W y, S).
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from plumbline.models import PosteriorEncoding
from plumbline.models._labels import Labels
from plumbline.models._moments import RunningMoments
from plumbline.models._preparing import PreparedInBlocks, SampleBlock
from plumbline.models._running_regression import RunningRegression
from plumbline.models.latent._class_gaussian import LEAST_VARIANCE
from plumbline.models.latent._space import LatentSpace


class AttributeGaussian(PreparedInBlocks, nn.Module):
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
    def prepare_in_blocks(self, blocks: Iterable[SampleBlock]) -> None:
        """Fits the Gaussian."""
        self.wanted.fit_blocks(blocks)
        regression, noise = RunningRegression(), RunningMoments()
        for block in blocks:
            means, variances = self.space.posterior_moments(block)
            regression.add(self.wanted.of(block), means)
            noise.add(variances)
        # Labels may be the same for all samples, or depend on others.
        solution, squares = regression.solution()
        self.weights.copy_(solution.roll(-1, 0))
        variance = noise.mean + LEAST_VARIANCE
        covariance = squares / (regression.count - 1) + torch.diag(variance)
        self.root.copy_(torch.linalg.cholesky(covariance))

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
