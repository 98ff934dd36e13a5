"""A diffusion model whose samples are moved closer to the constraint by a restorer."""

from __future__ import annotations

from collections.abc import Mapping

from azula.denoise import Denoiser
from jaxtyping import Float
from torch import Tensor, nn

from plumbline.models import Denoising, Restoring
from plumbline.models._preparing import PreparedInBlocks
from plumbline.samplers._models import Space


class RestoredDiffusion(PreparedInBlocks, nn.Module):
    """A diffusion model whose space restores samples when decoding.

    Args:
        diffusion: the trained diffusion model.
        restorer: the trained restorer.
    """

    def __init__(self, diffusion: Denoising, restorer: Restoring) -> None:
        super().__init__()
        self.diffusion, self.restorer = diffusion, restorer

    @property
    def denoiser(self) -> Denoiser:
        """The diffusion model's denoiser."""
        return self.diffusion.denoiser

    def space_of(self, batch: dict[str, Tensor]) -> RestoredSpace:
        """The diffusion model's space, with the restorer applied when decoding."""
        return RestoredSpace(self.diffusion.space_of(batch), self.restorer)

    def conditions(self, batch: dict[str, Tensor]) -> Mapping[str, object]:
        """The denoiser's keyword arguments for a batch."""
        return self.diffusion.conditions(batch)


class RestoredSpace:
    """A space that restores samples when decoding.

    Args:
        space: the space of the diffusion model.
        restorer: the trained restorer.
    """

    def __init__(self, space: Space, restorer: Restoring) -> None:
        self.space, self.restorer = space, restorer

    @property
    def decoding_evaluations(self) -> int:
        """Network evaluations of one `decode`."""
        return int(getattr(self.space, "decoding_evaluations", 0)) + self.restorer.decoding_evaluations

    def encode(self, x: Float[Tensor, "B *S"]) -> Float[Tensor, "B *Z"]:
        """From the data's units to the space."""
        return self.space.encode(x)

    def decode(self, z: Float[Tensor, "B *Z"]) -> Float[Tensor, "B *S"]:
        """From the space to the data's units, restored."""
        scaled = self.restorer.space.encode(self.space.decode(z))
        return self.restorer.space.decode(self.restorer.decoded(scaled))
