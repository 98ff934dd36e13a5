"""A Gaussian for each class in the latent space of an autoencoder, or for each combination of labels."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from plumbline.linalg.running import RunningProducts
from plumbline.models import PosteriorEncoding
from plumbline.models._labels import Labels
from plumbline.models._moments import RunningMoments
from plumbline.models._preparing import PreparedInBlocks, SampleBlock
from plumbline.models.latent._space import LatentSpace

LEAST_VARIANCE = 1e-6
"""Added to the variances, since a class with few samples may have none in some direction."""
MOST_CLASSES = 256
"""Above this number the covariances take too much memory, and each class has too few samples."""


class ClassGaussian(PreparedInBlocks, nn.Module):
    """One Gaussian of latent vectors for each of K classes.

    The covariance is that of samples of the posterior: the covariance of its means plus the mean of its
    variances.

    Args:
        autoencoder: the trained autoencoder.
        wanted: computes the labels of a batch.

    Attributes:
        labels: the labels of the classes (K, C).
        means: the means (K, d).
        roots: Cholesky factors of the covariances (K, d, d).

    Raises:
        ValueError: there are too many combinations of labels.
    """

    labels: Tensor
    means: Tensor
    roots: Tensor

    def __init__(self, autoencoder: PosteriorEncoding, wanted: Labels) -> None:
        super().__init__()
        self.wanted = wanted
        self.space = LatentSpace(autoencoder)
        if wanted.combinations > MOST_CLASSES:
            raise ValueError(
                f"`wanted`: `class_gaussian` takes {MOST_CLASSES} classes or combinations of labels at most; "
                "take `attribute_gaussian`."
            )
        classes, dim = wanted.combinations, self.space.dim
        self.register_buffer("labels", wanted.all())
        self.register_buffer("means", torch.zeros(classes, dim))
        self.register_buffer("roots", torch.eye(dim).repeat(classes, 1, 1))

    @torch.no_grad()
    def prepare_in_blocks(self, blocks: Iterable[SampleBlock]) -> None:
        """Fits the Gaussians.

        Raises:
            ValueError: a class has fewer than two samples.
        """
        self.wanted.fit_blocks(blocks)
        found = [(RunningProducts(), RunningMoments()) for _ in self.labels]
        for block in blocks:
            means, variances = self.space.posterior_moments(block)
            classes = self._class_of(self.wanted.of(block))
            for index, (moments, noise) in enumerate(found):
                own = classes == index
                moments.add(means[own])
                noise.add(variances[own])
        for index, (y, (moments, noise)) in enumerate(zip(self.labels, found, strict=True)):
            if moments.count < 2:
                named = self.wanted.by_name(y[None]).items()
                label = ", ".join(f"{name} {int(value)}" for name, value in named)
                raise ValueError(
                    f"`wanted`: the training data has {moments.count} samples of {label}; two are needed. "
                    "Where combinations of labels are rare, take `attribute_gaussian`."
                )
            covariance = moments.products / (moments.count - 1) + torch.diag(noise.mean + LEAST_VARIANCE)
            self.means[index] = moments.mean
            self.roots[index] = torch.linalg.cholesky(covariance)

    def latent_draws(self, batch: dict[str, Tensor]) -> Float[Tensor, "B d"]:
        """Samples one latent vector per sample of the batch, from the Gaussian of its class."""
        index = self._class_of(self.wanted.of(batch))
        noise = torch.randn(len(index), self.space.dim, device=self.means.device)
        return self.means[index] + torch.einsum("bij,bj->bi", self.roots[index], noise)

    def decode(self, z: Float[Tensor, "B d"], batch: dict[str, Tensor]) -> Float[Tensor, "B *S"]:
        """The samples of latent vectors, in the data's units."""
        return self.space.decode(z, batch)

    def _class_of(self, y: Float[Tensor, "B C"]) -> Int[Tensor, " B"]:
        return torch.cdist(y, self.labels, p=1).argmin(1)
