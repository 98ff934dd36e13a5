"""Restorers: the inverse map f of a mirror map with the identity as g, precise at low noise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from plumbline.models import BuildContext, MirrorMap, ModelSpec, Restoring
from plumbline.networks import AnyNetwork
from plumbline.spec import key

if TYPE_CHECKING:
    from plumbline.models.mirror._restorer import Restorer


class RestorerSpec(ModelSpec):
    """A network that removes noise under a constraint, with corrections on the scale of the noise level.

    It is also a `space` for diffusion models: that of the samples themselves, with restoration when decoding.
    Sources: the inverse map of Feng, Baptista, Bouman (ICLR 2025), https://arxiv.org/abs/2406.12816, with the
    preconditioning of Karras et al. (2022), https://arxiv.org/abs/2206.00364.
    """

    kind: Literal["restorer"] = "restorer"
    constraint: str
    """Name of the constraint, one of the study's `constraints`."""
    network: AnyNetwork
    """Network, conditioned on the noise level."""
    noise_min: float = key("standard deviations of the data", gt=0, default=0.002)
    """Minimum noise level in training."""
    noise_max: float = key("standard deviations of the data", gt=0, default=1.0)
    """Maximum noise level in training; levels are log-uniform."""
    decoding_noise: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        default=(0.1, 0.03, 0.01, 0.003),
        min_length=1,
        json_schema_extra={"unit": "standard deviations of the data"},
    )
    """Noise level that it is conditioned on in each pass over generated samples: the noise left so far."""
    constraint_weight: float = key(ge=0, default=3.0)
    """Weight of the constraint distance, in units of 0.4 over the distance that unit white noise causes."""

    @model_validator(mode="after")
    def _noise_within_what_is_trained(self) -> RestorerSpec:
        if self.noise_min >= self.noise_max:
            raise ValueError(
                f"`noise_min` ({self.noise_min}) must be less than `noise_max` ({self.noise_max})"
            )
        outside = [level for level in self.decoding_noise if not self.noise_min <= level <= self.noise_max]
        if outside:
            raise ValueError(
                f"`decoding_noise` ({outside[0]}) is not between `noise_min` ({self.noise_min}) and "
                f"`noise_max` ({self.noise_max}), the range of noise in training"
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

    def provides(self) -> tuple[type, ...]:
        return (MirrorMap, Restoring)
