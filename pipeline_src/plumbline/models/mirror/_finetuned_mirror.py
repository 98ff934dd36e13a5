r"""Finetuning of the inverse map on what the diffusion model in its space really draws.

An image y is drawn for each training sample before the training, and f is trained on

    w [ |f(g(x), 0) - x| + |f(y', s) - t| ] / 2 + lambda l(f(y', s)),    y' = y + s e,  s ~ U[0, sigma_max] std(g(x)),

with g and the diffusion model frozen. Drawn images have no state that they came from. In its place t is what f restored of y
before the training, in as many passes as it decodes in, each of which is trained; the published loss has
|g(f(y')) - y'|, which keeps what is wrong with the image.
"""

from __future__ import annotations

import copy
from typing import Any, Literal

import torch
from torch import Tensor, nn

from plumbline.constraints import Constraint
from plumbline.models._spaces import ImageSpace, MirrorSpace
from plumbline.models.mirror._mirror_map import MirrorMap
from plumbline.samplers import DenoisingSpec
from plumbline.samplers._drawing import drawn_for, where_drawing_is_fast


class FinetunedMirror(nn.Module):
    """A diffusion model in a mirror space whose inverse map is trained on.

    Args:
        diffusion: the trained diffusion model.
        constraint: the constraint that f restores.
        sampler: how images are drawn, one for each training sample.
        drawn_target: what f gives of a drawn image: what it restored before, or the image itself through g.
        constraint_weight: lambda_c, in the unit of the mirror map's own.
        sigma_max: largest standard deviation of further noise on the drawn images.

    Raises:
        ValueError: the diffusion model does not work in the space of a mirror map.
    """

    weight: Tensor

    def __init__(
        self,
        diffusion: Any,
        constraint: Constraint,
        *,
        sampler: DenoisingSpec,
        drawn_target: Literal["restored", "image"] = "restored",
        constraint_weight: float = 3.0,
        sigma_max: float = 0.0,
    ) -> None:
        super().__init__()
        if not (isinstance(diffusion.space, MirrorSpace) and isinstance(diffusion.space.mirror, MirrorMap)):
            raise ValueError("`finetune_on`: the diffusion model does not work in the space of a mirror map.")
        self.constraint, self.sampler, self.drawn_target = constraint, sampler, drawn_target
        self.constraint_weight, self.sigma_max = constraint_weight, sigma_max
        self.diffusion = diffusion
        self.space = copy.deepcopy(diffusion.space)
        self.space.mirror.inverse_network.requires_grad_(True)
        self.register_buffer("weight", torch.tensor(constraint_weight))

    def prepare(self, data: dict[str, Tensor]) -> None:
        """Draws an image for each sample: what each pass of f is given of it joins the data, and what the last restores."""
        unit = self.space.mirror.unit_of_weight(self.constraint, data)
        self.weight.fill_(self.constraint_weight * unit)
        home = data["state"].device
        with where_drawing_is_fast(self, home) as device:
            images = drawn_for(_Images(self.diffusion), self.sampler, data, device)
            passes = [self._passes(image) for image in images]
        data["drawn"], data["target"] = (torch.cat(parts).to(home) for parts in zip(*passes, strict=True))

    @property
    def denoiser(self) -> Any:
        """The diffusion model's."""
        return self.diffusion.denoiser

    def space_of(self, batch: dict[str, Tensor]) -> MirrorSpace:
        """The mirror space, with the finetuned way back."""
        return self.space

    def conditions(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The denoiser's keyword arguments for a batch."""
        return self.diffusion.conditions(batch)

    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss, and its terms."""
        mirror = self.space.mirror
        z = mirror.space.encode(batch["state"])
        with torch.no_grad():
            y = mirror.image(z)
        sigma = self.sigma_max * torch.rand(len(z), dtype=z.dtype, device=z.device)
        which = torch.randint(batch["drawn"].shape[1], (len(z),), device=z.device)
        drawn = mirror.noised(batch["drawn"][torch.arange(len(z), device=z.device), which], sigma, y)
        told = torch.maximum(sigma, sigma.new_tensor(mirror.decoding_noise)[which])
        clean, restored = mirror.restored(
            torch.cat([y, drawn]), torch.cat([torch.zeros_like(sigma), told])
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
        return (self.space.mirror.image(restored) - drawn).abs().mean()

    @torch.no_grad()
    def _passes(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """What the passes of f over images (B, *S) are given (B, passes, *S), and what the last restores (B, *S)."""
        passes = self.space.mirror.passes(images)
        if self.drawn_target == "image":
            passes = passes[:1]
        return torch.stack([given for given, _ in passes], dim=1), passes[-1][1]


class _Images:
    """A diffusion model in a mirror space as one of the images themselves."""

    def __init__(self, diffusion: Any) -> None:
        self.denoiser, self.conditions = diffusion.denoiser, diffusion.conditions
        self.images = ImageSpace(diffusion.space)

    def space_of(self, batch: dict[str, Tensor]) -> ImageSpace:
        """The images, standardised."""
        return self.images
