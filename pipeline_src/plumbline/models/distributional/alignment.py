"""Diffusion models finetuned to reach levels of rewards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from plumbline.attributes import AnyAttribute
from plumbline.models import BuildContext, Denoising, ModelSpec, Rewarding
from plumbline.models.distributional._multiplier_specs import AnyMultipliers, DualAscentSpec
from plumbline.spec import Spec, key

if TYPE_CHECKING:
    from plumbline.models.distributional._alignment import Alignment


class RewardSpec(Spec):
    """An attribute, and the level that its mean should reach."""

    attribute: AnyAttribute
    """The attribute to measure on each sample."""
    level: float = key("standard deviations of the pretrained model's samples")
    """b: the mean to reach, relative to that of the pretrained model's samples."""


class AlignmentSpec(ModelSpec):
    """The diffusion model closest to a pretrained one whose mean rewards reach their levels.

    Source: Khalafi, Hounie, Ding, Ribeiro (NeurIPS 2025), algorithm 1, https://arxiv.org/abs/2508.19104.
    """

    kind: Literal["alignment"] = "alignment"
    pretrained: str
    """Name of the diffusion model that this one starts from and stays close to."""
    rewards: dict[Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")], RewardSpec] = Field(
        min_length=1
    )
    """The rewards by name."""
    multipliers: AnyMultipliers = DualAscentSpec()
    """Multipliers of the constraints: by dual ascent, or fixed, which gives a weighted sum of rewards."""
    steps: int = key(ge=2, default=20)
    """Steps of ancestral sampling to finetune through; sample the model with `ddpm` and as many steps."""
    backpropagated: int = key(ge=1, default=20)
    """Final steps that reward gradients pass through; earlier steps learn from their divergences only."""
    calibration: int = key("samples", ge=2, default=512)
    """Samples of the pretrained model that set mean and standard deviation of the rewards."""

    @model_validator(mode="after")
    def _no_more_than_there_are(self) -> AlignmentSpec:
        if self.backpropagated > self.steps:
            raise ValueError(
                f"`backpropagated` ({self.backpropagated}) must be at most `steps` ({self.steps})"
            )
        return self

    def build(self, on: BuildContext) -> Alignment:
        from plumbline.models.distributional._alignment import Alignment

        below = {name for reward in self.rewards.values() for name in reward.attribute.depends_on()}
        return Alignment(
            on.model(self.pretrained, Denoising),
            attributes={
                name: reward.attribute.build(on.example, on.models) for name, reward in self.rewards.items()
            },
            levels=[reward.level for reward in self.rewards.values()],
            multipliers=self.multipliers.build(len(self.rewards)),
            measuring={name: on.models[name] for name in sorted(below)},
            steps=self.steps,
            backpropagated=self.backpropagated,
            calibration=self.calibration,
        )

    def depends_on(self) -> dict[str, type]:
        needed: dict[str, type] = {self.pretrained: Denoising}
        for reward in self.rewards.values():
            needed |= reward.attribute.depends_on()
        return needed

    def provides(self) -> tuple[type, ...]:
        return (Denoising, Rewarding)

    def bounds(self) -> dict[str, tuple[str, float | None]]:
        return {name: (f"reward_{name}", reward.level) for name, reward in self.rewards.items()}
