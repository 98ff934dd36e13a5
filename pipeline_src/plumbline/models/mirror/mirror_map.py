"""Neural approximate mirror maps: a learned map to a space without the constraint, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from plumbline.models import BuildContext, MirrorMap, ModelSpec
from plumbline.networks import AnyNetwork
from plumbline.networks.input_convex import InputConvexSpec
from plumbline.spec import key

if TYPE_CHECKING:
    from plumbline.models.mirror._mirror_map import LearnedMirrorMap


class MirrorMapSpec(ModelSpec):
    """A strongly monotone map g, and an approximate inverse f from noisy images to feasible samples.

    The defaults are an improved recipe; the published values are given at each key. Source: Feng, Baptista,
    Bouman (ICLR 2025), https://arxiv.org/abs/2406.12816.
    """

    kind: Literal["mirror_map"] = "mirror_map"
    constraint: str
    """Name of the constraint that f restores, one of the study's `constraints`."""
    forward: AnyNetwork = InputConvexSpec()
    """Network of g, whose output is mixed with the identity."""
    inverse: AnyNetwork
    """Network of f, given the noise level. A U-Net preserves detail; the published generator does not."""
    strong_convexity: float = key(ge=0, le=1, default=0.9)
    """a in g(x) = (1 - a) N(x) + a x; at one, g is the identity and only f is learned."""
    scaling: Literal["per_feature", "global", "none"] = key(default="global")
    """Standardisation before g: a mean and a scale per coordinate, one of each, or none (published)."""
    sigma_max: float = key("`noise_unit`", gt=0, default=0.1)
    """Maximum standard deviation of the noise that f is trained to remove in the mirror space."""
    noise_unit: Literal["image", "space"] = "image"
    """Unit of noise: std of the images, which makes their scale irrelevant, or of the space (published)."""
    decoding_noise: tuple[Annotated[float, Field(ge=0)], ...] = Field(
        default=(0.05,), min_length=1, json_schema_extra={"unit": "`noise_unit`"}
    )
    """Noise levels that f is conditioned on for generated samples, one per pass, with g between passes."""
    cycle_weight: float = key(ge=0, default=1.0)
    """Weight of the reconstruction, half from clean images and half from noisy ones."""
    noisy_target: Literal["state", "image"] = "state"
    """Target for a noisy image: the state, or through g the noisy image itself (published)."""
    constraint_weight: float = key(ge=0, default=3.0)
    """Weight of the constraint distance of the states that f restores from noisy images."""
    constraint_unit: Literal["sensitivity", "distance"] = "sensitivity"
    """Unit of the weight: 0.4 over the distance caused by a unit of white noise, or one (published)."""
    regularisation_weight: float = key(ge=0, default=1e-3)
    """Weight of the mean absolute output of the network of g."""
    residual: bool = True
    """Whether f adds its network's output to the image."""
    activation: Literal["none", "softplus"] = "none"
    """Final activation of f; softplus keeps states positive (published for images)."""

    @model_validator(mode="after")
    def _noise_within_what_is_trained(self) -> MirrorMapSpec:
        if max(self.decoding_noise) > self.sigma_max:
            raise ValueError(
                f"`decoding_noise` ({max(self.decoding_noise)}) is more than `sigma_max` ({self.sigma_max}), "
                f"the largest noise that f is trained on"
            )
        return self

    def build(self, on: BuildContext) -> LearnedMirrorMap:
        from plumbline.models._spaces import sample_shape
        from plumbline.models.mirror._mirror_map import LearnedMirrorMap

        return LearnedMirrorMap(
            sample_shape(on.example),
            on.constraints[self.constraint],
            forward=self.forward.build,
            inverse=self.inverse.build,
            strong_convexity=self.strong_convexity,
            scaling=self.scaling,
            sigma_max=self.sigma_max,
            noise_unit=self.noise_unit,
            decoding_noise=self.decoding_noise,
            cycle_weight=self.cycle_weight,
            noisy_target=self.noisy_target,
            constraint_weight=self.constraint_weight,
            constraint_unit=self.constraint_unit,
            regularisation_weight=self.regularisation_weight,
            residual=self.residual,
            activation=self.activation,
        )

    def constraint_names(self) -> list[str]:
        return [self.constraint]

    def provides(self) -> tuple[type, ...]:
        return (MirrorMap,)
