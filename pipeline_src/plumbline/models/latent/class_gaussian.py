"""A Gaussian for each class in the latent space of an autoencoder."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from plumbline.models.latent import ClassGaussianSpec
from plumbline.models.latent.space import LatentSpace

# Added to the variances, of which a class with few samples may have none in some direction.
LEAST_VARIANCE = 1e-6


class ClassGaussian(nn.Module):
    """Means (K, d) and roots of covariances (K, d, d) of the latent vectors of each class.

    The covariance is that of draws of the posterior: the covariance of its means plus the mean of its variances.
    """

    means: Tensor
    roots: Tensor

    def __init__(self, spec: ClassGaussianSpec, autoencoder: Any) -> None:
        super().__init__()
        self.spec = spec
        self.space = LatentSpace(autoencoder)
        numbers = self.space.numbers
        self.register_buffer("means", torch.zeros(spec.classes, numbers))
        self.register_buffer("roots", torch.eye(numbers).repeat(spec.classes, 1, 1))

    @torch.no_grad()
    def prepare(self, data: dict[str, Tensor]) -> None:
        """Fits the Gaussians.

        Raises:
            ValueError: a class has fewer than two samples.
        """
        all_means, all_variances = self.space.posterior_moments(data)
        for label in range(self.spec.classes):
            own = data["label"] == label
            if int(own.sum()) < 2:
                raise ValueError(
                    f"`classes`: the training data has {int(own.sum())} samples of class {label}; two are needed."
                )
            means, variances = all_means[own], all_variances[own]
            covariance = means.T.cov() + torch.diag(variances.mean(0) + LEAST_VARIANCE)
            self.means[label] = means.mean(0)
            self.roots[label] = torch.linalg.cholesky(covariance)

    def latent_draws(self, batch: dict[str, Tensor]) -> Float[Tensor, "B d"]:
        """A draw of the Gaussian of each sample's class."""
        label = batch["label"].long()
        noise = torch.randn(len(label), self.space.numbers, device=self.means.device)
        return self.means[label] + torch.einsum("bij,bj->bi", self.roots[label], noise)

    def decode(self, z: Float[Tensor, "B d"], batch: dict[str, Tensor]) -> Float[Tensor, "B *S"]:
        """The samples of latent vectors, in the data's units."""
        return self.space.decode(z, batch)
