"""Diffusion models finetuned to reach levels of rewards (Khalafi, Hounie, Ding, Ribeiro, 2025)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from plumbline.attributes import AnyAttribute
from plumbline.models import BuildContext, ModelSpec
from plumbline.models.distributional._multiplier_specs import AnyMultipliers, DualAscentSpec
from plumbline.spec import Spec, key

if TYPE_CHECKING:
    from plumbline.models.distributional._alignment import Alignment


class RewardSpec(Spec):
    """An attribute that is to reach a level on average."""

    attribute: AnyAttribute
    """What is measured of each sample."""
    level: float = key("standard deviations of the pretrained model's samples")
    """b: the mean to be reached, from that of the pretrained model's samples."""


class AlignmentSpec(ModelSpec):
    """The diffusion model nearest to a pretrained one whose samples reach a level of each reward on average."""

    kind: Literal["alignment"] = "alignment"
    pretrained: str
    """Name of the diffusion model that this one starts from and stays near to."""
    rewards: dict[Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")], RewardSpec] = Field(
        min_length=1
    )
    """The rewards by name."""
    multipliers: AnyMultipliers = DualAscentSpec()
    """How the multipliers of the constraints are set: by ascent, or fixed, which is a sum of rewards with weights."""
    steps: int = key(ge=2, default=20)
    """Steps of ancestral sampling that the model is finetuned through, and made for: draw with `ddpm` and as many."""
    backpropagated: int = key(ge=1, default=20)
    """Last steps that gradients go back through; the earlier ones learn from the divergence and the state they lead to."""
    calibration: int = key("samples", ge=2, default=512)
    """Samples of the pretrained model by which the rewards are put into standard deviations."""

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
            on.models[self.pretrained],
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

    def depends_on(self) -> dict[str, str]:
        needed = {self.pretrained: "denoiser"}
        for reward in self.rewards.values():
            needed |= reward.attribute.depends_on()
        return needed

    def provides(self) -> tuple[str, ...]:
        return ("denoiser", "rewards")

    def bounds(self) -> dict[str, tuple[str, float | None]]:
        return {name: (f"reward_{name}", reward.level) for name, reward in self.rewards.items()}
