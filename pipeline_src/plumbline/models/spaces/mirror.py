"""The space of a mirror map: images g(x), standardised; what is drawn there comes back through f."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from plumbline.models.mirror_map.map import MirrorMap
from plumbline.models.spaces.standardisation import Standardisation

# Samples that are mapped together where a whole dataset is.
CHUNK = 512


class MirrorSpace(nn.Module):
    """Standardised images of samples (B, *S) under a trained mirror map."""

    def __init__(self, mirror: MirrorMap) -> None:
        super().__init__()
        self.mirror = mirror
        self.standard = Standardisation(mirror.space.shape, "global")

    def fit(self, x: Float[Tensor, "N *S"]) -> None:
        """Fits the standardisation to the images of the samples."""
        self.standard.fit(torch.cat([self.image(part) for part in x.split(CHUNK)]))

    @torch.no_grad()
    def image(self, x: Float[Tensor, "B *S"]) -> Float[Tensor, "B *S"]:
        """g(x), not standardised."""
        z = self.mirror.space.encode(x).to(self._dtype())
        return self.mirror.image(z)[0].to(x.dtype)

    def encode(self, x: Float[Tensor, "B *S"]) -> Float[Tensor, "B *S"]:
        """From the data's units to standardised images, without gradients."""
        return self.standard.encode(self.image(x))

    def decode(self, z: Float[Tensor, "B *S"]) -> Float[Tensor, "B *S"]:
        """From standardised images to the data's units, through f at the noise level of generated samples."""
        y = self.standard.decode(z).to(self._dtype())
        sigma = torch.full((1,), self.mirror.spec.decoding_noise, dtype=y.dtype, device=y.device)
        return self.mirror.space.decode(self.mirror.restored(y, sigma).to(z.dtype))

    def _dtype(self) -> torch.dtype:
        return next(self.mirror.parameters()).dtype


class ImageSpace(nn.Module):
    """The same space, from which images come back as images, not through f."""

    def __init__(self, space: MirrorSpace) -> None:
        super().__init__()
        self.space = space

    def encode(self, x: Float[Tensor, "B *S"]) -> Float[Tensor, "B *S"]:
        """From the data's units to standardised images."""
        return self.space.encode(x)

    def decode(self, z: Float[Tensor, "B *S"]) -> Float[Tensor, "B *S"]:
        """From standardised images to images."""
        return self.space.standard.decode(z)
