"""Restorers: the inverse map f of a mirror map without the map, precise where there is little to restore."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from plumbline.models import BuildContext, ModelSpec
from plumbline.networks import AnyNetwork
from plumbline.spec import key

if TYPE_CHECKING:
    from plumbline.models.mirror._restorer import Restorer


class RestorerSpec(ModelSpec):
    """A network that takes noise off under a constraint, and moves a sample by no more than it is told that it is wrong by.

    Also a `space` for diffusion models: that of the samples themselves, from which they come back restored.
    """

    kind: Literal["restorer"] = "restorer"
    constraint: str
    """Name of the constraint, one of the study's `constraints`."""
    network: AnyNetwork
    """The network, given the noise level."""
    noise_min: float = key("standard deviations of the data", gt=0, default=0.002)
    """Least noise that it is trained to take off."""
    noise_max: float = key("standard deviations of the data", gt=0, default=1.0)
    """Largest noise that it is trained to take off; levels between are alike frequent in their logarithm."""
    decoding_noise: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        default=(0.1, 0.03, 0.01, 0.003),
        min_length=1,
        json_schema_extra={"unit": "standard deviations of the data"},
    )
    """Noise that it is told of generated samples, pass by pass: of each what is left by the one before."""
    constraint_weight: float = key(ge=0, default=3.0)
    """Weight of the constraint distance, in units of 0.4 over the distance that a unit of white noise makes."""

    @model_validator(mode="after")
    def _noise_within_what_is_trained(self) -> RestorerSpec:
        if self.noise_min >= self.noise_max:
            raise ValueError(
                f"`noise_min` ({self.noise_min}) must be less than `noise_max` ({self.noise_max})"
            )
        outside = [level for level in self.decoding_noise if not self.noise_min <= level <= self.noise_max]
        if outside:
            raise ValueError(
                f"`decoding_noise` ({outside[0]}) is not between `noise_min` ({self.noise_min}) and `noise_max` "
                f"({self.noise_max}), which it is trained for"
            )
        return self

    def build(self, on: BuildContext) -> Restorer:
        from plumbline.models._spaces import sample_shape
        from plumbline.models.mirror._restorer import Restorer

        return Restorer(
            sample_shape(on.example),
            on.constraints[self.constraint],
            network=self.network.build,
            noise_min=self.noise_min,
            noise_max=self.noise_max,
            decoding_noise=self.decoding_noise,
            constraint_weight=self.constraint_weight,
        )

    def constraint_names(self) -> list[str]:
        return [self.constraint]

    def provides(self) -> tuple[str, ...]:
        return ("mirror", "restorer")
