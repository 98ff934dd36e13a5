"""A mirror map whose inverse is trained further, on what is drawn behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import model_validator

from plumbline.models import BuildContext, ModelSpec
from plumbline.samplers import AnyDenoisingSampler, DenoisingSpec
from plumbline.spec import key

if TYPE_CHECKING:
    from plumbline.models.mirror._finetuned_mirror import FinetunedMirror


class FinetunedMirrorSpec(ModelSpec):
    """A diffusion model in a mirror space, with an inverse map that is trained on with what the diffusion model draws."""

    kind: Literal["finetuned_mirror"] = "finetuned_mirror"
    finetune_on: str
    """Name of the diffusion model, which must work in the space of a mirror map."""
    sampler: AnyDenoisingSampler
    """How images are drawn, one for each training sample."""
    drawn_target: Literal["restored", "image"] = "restored"
    """What f gives of a drawn image: what it restored before, in all its passes, or the image itself through g (published)."""
    constraint: str
    """Name of the constraint, one of the study's `constraints`."""
    constraint_weight: float = key(ge=0, default=3.0)
    """lambda_c, in the unit of the mirror map's own."""
    sigma_max: float = key("the map's `noise_unit`", ge=0, default=0.0)
    """Largest standard deviation of further noise on the drawn images (published: 0.1)."""

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
            on.models[self.finetune_on],
            on.constraints[self.constraint],
            sampler=self.sampler,
            drawn_target=self.drawn_target,
            constraint_weight=self.constraint_weight,
            sigma_max=self.sigma_max,
        )

    def constraint_names(self) -> list[str]:
        return [self.constraint]

    def depends_on(self) -> dict[str, str]:
        return {self.finetune_on: "denoiser"}
