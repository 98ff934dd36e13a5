"""The space of a mirror map: images g(x), standardised; what is drawn there comes back through f."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from plumbline.models.spaces.standardisation import Scaling, Standardisation

# Samples that are mapped together where a whole dataset is.
CHUNK = 512


@runtime_checkable
class Mirror(Protocol):
    """A pair of maps of samples in the space `space`."""

    @property
    def space(self) -> Standardisation:
        """The space that the maps work in."""
        ...

    @property
    def decoding_evaluations(self) -> int:
        """Network evaluations of bringing an image back."""
        ...

    def image(self, z: Tensor) -> Tensor:
        """g, in the dtype of what it is given."""
        ...

    def decoded(self, y: Tensor) -> Tensor:
        """f of generated images, in the dtype of what it is given."""
        ...


class MirrorSpace(nn.Module):
    """Images of samples (B, *S) under a trained mirror map, standardised."""

    def __init__(self, mirror: Mirror, scaling: Scaling = "global") -> None:
        super().__init__()
        self.mirror: Any = mirror
        self.standard = Standardisation(mirror.space.shape, scaling)

    @property
    def decoding_evaluations(self) -> int:
        """Network evaluations of one `decode`."""
        return int(self.mirror.decoding_evaluations)

    def fit(self, x: Float[Tensor, "N *S"]) -> None:
        """Fits the standardisation to the images of the samples."""
        self.standard.fit(torch.cat([self.image(part) for part in x.split(CHUNK)]))

    @torch.no_grad()
    def image(self, x: Float[Tensor, "B *S"]) -> Float[Tensor, "B *S"]:
        """g(x), not standardised."""
        return self.mirror.image(self.mirror.space.encode(x))

    def encode(self, x: Float[Tensor, "B *S"]) -> Float[Tensor, "B *S"]:
        """From the data's units to standardised images, without gradients."""
        return self.standard.encode(self.image(x))

    def decode(self, z: Float[Tensor, "B *S"]) -> Float[Tensor, "B *S"]:
        """From standardised images to the data's units, through f at the noise level of generated samples."""
        return self.mirror.space.decode(self.mirror.decoded(self.standard.decode(z)))


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
