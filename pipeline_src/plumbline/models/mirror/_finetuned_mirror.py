r"""Finetuning of the inverse map on images that the diffusion model in its space generates.

Before the training an image y is generated for each training sample, and f is trained on

    w [ |f(g(x), 0) - x| + |f(y', s) - t| ] / 2 + lambda l(f(y', s)),
    y' = y + s e,    s ~ U[0, sigma_max] std(g(x)),

with g and the diffusion model frozen. Generated images have no original state. In its place t is the state
that f restored from y before the training, in all of its decoding passes; each pass is trained. The published
loss has |g(f(y')) - y'| instead, which preserves the errors of the image.

Source: Feng, Baptista, Bouman (ICLR 2025), https://arxiv.org/abs/2406.12816.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Literal

import torch
from azula.denoise import Denoiser
from torch import Tensor

from plumbline.constraints import Constraint
from plumbline.models import Denoising
from plumbline.models._on_device import WithConstraints
from plumbline.models._spaces import ImageSpace, MirrorSpace
from plumbline.models.mirror._mirror_map import LearnedMirrorMap
from plumbline.samplers import DenoisingSpec
from plumbline.samplers._drawing import drawn_for, where_drawing_is_fast


class FinetunedMirror(WithConstraints):
    """A diffusion model in a mirror space whose inverse map is finetuned.

    It is prepared from the whole train split at once: each training sample gets a generated image and its
    decoding passes, which take more memory than the samples themselves.

    Source: Feng, Baptista, Bouman (ICLR 2025), https://arxiv.org/abs/2406.12816.

    Args:
        diffusion: the trained diffusion model.
        constraint: the constraint that f restores.
        sampler: draws the images, one per training sample.
        drawn_target: target for a drawn image: the state that f restored before (`restored`), or the image
            itself after g(f(.)) (`image`).
        constraint_weight: lambda, in the unit of the mirror map's own constraint weight.
        sigma_max: maximum standard deviation of additional noise on the drawn images.

    Attributes:
        weight: lambda in units of the distance.

    Raises:
        ValueError: the diffusion model does not work in the space of a mirror map.
    """

    weight: Tensor
    levels: Tensor

    def __init__(
        self,
        diffusion: Denoising,
        constraint: Constraint,
        *,
        sampler: DenoisingSpec,
        drawn_target: Literal["restored", "image"] = "restored",
        constraint_weight: float = 3.0,
        sigma_max: float = 0.0,
    ) -> None:
        super().__init__()
        space = diffusion.space_of({})
        if not (isinstance(space, MirrorSpace) and isinstance(space.mirror, LearnedMirrorMap)):
            raise ValueError("`finetune_on`: the diffusion model does not work in the space of a mirror map.")
        self.constraint, self.sampler, self.drawn_target = constraint, sampler, drawn_target
        self.constraint_weight, self.sigma_max = constraint_weight, sigma_max
        self.diffusion = diffusion
        self.space = copy.deepcopy(space)
        self._mirror.inverse_network.requires_grad_(True)
        self.register_buffer("weight", torch.tensor(constraint_weight))
        levels = torch.tensor(self._mirror.decoding_noise, dtype=torch.float64)
        self.register_buffer("levels", levels, persistent=False)

    @property
    def _mirror(self) -> LearnedMirrorMap:
        """The map whose inverse is finetuned."""
        assert isinstance(self.space.mirror, LearnedMirrorMap)
        return self.space.mirror

    def prepare(self, data: dict[str, Tensor]) -> None:
        """Draws an image per sample; adds the inputs of all passes of f and the last result to the data."""
        unit = self._mirror.unit_of_weight(self.constraint, data)
        self.weight.fill_(self.constraint_weight * unit)
        home = data["state"].device
        with where_drawing_is_fast(self, home) as device:
            images = drawn_for(_Images(self.diffusion), self.sampler, data, device)
            passes = [self._passes(image) for image in images]
        data["drawn"], data["target"] = (torch.cat(parts).to(home) for parts in zip(*passes, strict=True))

    @property
    def denoiser(self) -> Denoiser:
        """The diffusion model's denoiser."""
        return self.diffusion.denoiser

    def space_of(self, batch: dict[str, Tensor]) -> MirrorSpace:
        """The mirror space with the finetuned inverse map."""
        return self.space

    def conditions(self, batch: dict[str, Tensor]) -> Mapping[str, object]:
        """The denoiser's keyword arguments for a batch."""
        return self.diffusion.conditions(batch)

    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss, and its terms."""
        mirror = self._mirror
        z = mirror.space.encode(batch["state"])
        with torch.no_grad():
            y = mirror.image(z)
        sigma = self.sigma_max * torch.rand(len(z), dtype=z.dtype, device=z.device)
        which = torch.randint(batch["drawn"].shape[1], (len(z),), device=z.device)
        drawn = mirror.noised(batch["drawn"][torch.arange(len(z), device=z.device), which], sigma, y)
        level = torch.maximum(sigma, self.levels.to(sigma.dtype)[which])
        clean, restored = mirror.restored(
            torch.cat([y, drawn]), torch.cat([torch.zeros_like(sigma), level])
        ).chunk(2)
        terms = {
            "reconstruction": (clean - z).abs().mean(),
            "drawn_reconstruction": self._drawn_reconstruction(restored, drawn, batch["target"]),
            "constraint": self.constraint.bind(batch).distance(mirror.space.decode(restored)).mean(),
        }
        cycle = mirror.cycle_weight * (terms["reconstruction"] + terms["drawn_reconstruction"]) / 2
        return cycle + self.weight * terms["constraint"], {n: term.detach() for n, term in terms.items()}

    def _drawn_reconstruction(self, restored: Tensor, drawn: Tensor, target: Tensor) -> Tensor:
        if self.drawn_target == "restored":
            return (restored - target).abs().mean()
        return (self._mirror.image(restored) - drawn).abs().mean()

    @torch.no_grad()
    def _passes(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs of the passes of f over images (B, *S), (B, passes, *S), and the last result (B, *S)."""
        passes = self._mirror.passes(images)
        if self.drawn_target == "image":
            passes = passes[:1]
        return torch.stack([given for given, _ in passes], dim=1), passes[-1][1]


class _Images:
    """A diffusion model in a mirror space as a model of the images, without the inverse map."""

    def __init__(self, diffusion: Denoising) -> None:
        space = diffusion.space_of({})
        assert isinstance(space, MirrorSpace)
        self.denoiser, self.conditions = diffusion.denoiser, diffusion.conditions
        self.images = ImageSpace(space)

    def space_of(self, batch: dict[str, Tensor]) -> ImageSpace:
        """The images, standardised."""
        return self.images
