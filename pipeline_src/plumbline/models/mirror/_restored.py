"""A diffusion model whose samples a restorer brings nearer to the constraint, as a model of its own."""

from __future__ import annotations

from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from plumbline.models.mirror._restorer import Restorer


class RestoredDiffusion(nn.Module):
    """The denoiser of a diffusion model, from whose space samples come back restored."""

    def __init__(self, diffusion: Any, restorer: Any) -> None:
        super().__init__()
        self.diffusion, self.restorer = diffusion, restorer

    def prepare(self, data: dict[str, Tensor]) -> None:
        """Nothing is left to fit."""

    @property
    def denoiser(self) -> Any:
        """The diffusion model's."""
        return self.diffusion.denoiser

    def space_of(self, batch: dict[str, Tensor]) -> RestoredSpace:
        """The diffusion model's space, with the restorer on the way back."""
        return RestoredSpace(self.diffusion.space_of(batch), self.restorer)

    def conditions(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The denoiser's keyword arguments for a batch."""
        return self.diffusion.conditions(batch)


class RestoredSpace:
    """A space from which samples come back restored."""

    def __init__(self, space: Any, restorer: Restorer) -> None:
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
