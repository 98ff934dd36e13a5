"""A mirror map whose inverse is finetuned on samples of the diffusion model in its space."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import model_validator

from plumbline.models import BuildContext, Denoising, ModelSpec
from plumbline.samplers import AnyDenoisingSampler, DenoisingSpec
from plumbline.spec import key

if TYPE_CHECKING:
    from plumbline.models.mirror._finetuned_mirror import FinetunedMirror


class FinetunedMirrorSpec(ModelSpec):
    """A diffusion model in a mirror space, with an inverse map that is finetuned on the model's own samples.

    Source: Feng, Baptista, Bouman (ICLR 2025), https://arxiv.org/abs/2406.12816.
    """

    kind: Literal["finetuned_mirror"] = "finetuned_mirror"
    finetune_on: str
    """Name of the diffusion model, which must work in the space of a mirror map."""
    sampler: AnyDenoisingSampler
    """Sampler of the images, one per training sample."""
    drawn_target: Literal["restored", "image"] = "restored"
    """Target for a drawn image: the state that f restored before, or through g the image (published)."""
    constraint: str
    """Name of the constraint, one of the study's `constraints`."""
    constraint_weight: float = key(ge=0, default=3.0)
    """Weight of the constraint distance, in the unit of the mirror map's own weight."""
    sigma_max: float = key("the map's `noise_unit`", ge=0, default=0.0)
    """Maximum standard deviation of additional noise on the drawn images (published: 0.1)."""

    @model_validator(mode="after")
    def _not_validated(self) -> FinetunedMirrorSpec:
        if self.training.validate_every:
            raise ValueError(
                "`training.validate_every` must be 0: images are drawn for the train split alone"
            )
        return self

    def build(self, on: BuildContext) -> FinetunedMirror:
        from plumbline.models.mirror._finetuned_mirror import FinetunedMirror

        assert isinstance(self.sampler, DenoisingSpec)
        return FinetunedMirror(
            on.model(self.finetune_on, Denoising),
            on.constraints[self.constraint],
            sampler=self.sampler,
            drawn_target=self.drawn_target,
            constraint_weight=self.constraint_weight,
            sigma_max=self.sigma_max,
        )

    def constraint_names(self) -> list[str]:
        return [self.constraint]

    def depends_on(self) -> dict[str, type]:
        return {self.finetune_on: Denoising}
