"""Diffusion models on azula: Karras preconditioning, EDM and VP schedules, any backbone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from plumbline.models import BuildContext, ConditionDropping, Denoising, MirrorMap, ModelSpec
from plumbline.networks import AnyNetwork
from plumbline.spec import Spec, key

if TYPE_CHECKING:
    from plumbline.models._spaces import MirrorSpace, Standardisation
    from plumbline.models.diffusion._diffusion import Diffusion
    from plumbline.models.diffusion._schedules import EDMSchedule, UniformVPSchedule, VPSDESchedule


class EDMScheduleSpec(Spec):
    """sigma(t) = (sigma_min^(1/rho) + t (sigma_max^(1/rho) - sigma_min^(1/rho)))^rho, alpha = 1.

    Source: Karras et al. (2022), eq. 5, https://arxiv.org/abs/2206.00364.
    """

    kind: Literal["edm"] = "edm"
    sigma_min: float = key("standard deviations of the data", gt=0, default=0.002)
    """Noise level at the end of sampling."""
    sigma_max: float = key("standard deviations of the data", gt=0, default=80.0)
    """Noise level at the start of sampling."""
    rho: float = key(ge=1, default=7.0)
    """Exponent of the spacing of steps; larger values spend more steps on small noise."""
    log_sigma_mean: float = key(default=-1.2)
    """Mean of the normal log sigma in training (published: -0.5 in this unit, better for structure)."""
    log_sigma_std: float = key(gt=0, default=1.2)
    """Standard deviation of log sigma in training."""

    @model_validator(mode="after")
    def _ordered(self) -> EDMScheduleSpec:
        if self.sigma_min >= self.sigma_max:
            raise ValueError(
                f"`sigma_min` must be less than `sigma_max`, found {self.sigma_min}, {self.sigma_max}"
            )
        return self

    def build(self) -> EDMSchedule:
        """Builds the schedule."""
        from plumbline.models.diffusion._schedules import EDMSchedule

        return EDMSchedule(
            sigma_min=self.sigma_min,
            sigma_max=self.sigma_max,
            rho=self.rho,
            log_sigma_mean=self.log_sigma_mean,
            log_sigma_std=self.log_sigma_std,
        )


class VPScheduleSpec(Spec):
    """alpha(t) = alpha_min^(t^2), variance preserving; training times are uniform.

    Source: Ho et al. (2020), https://arxiv.org/abs/2006.11239, in azula's parametrisation.
    """

    kind: Literal["vp"] = "vp"
    alpha_min: float = key(gt=0, lt=1, default=1e-3)
    """Signal level alpha at the start of sampling."""
    sigma_min: float = key("standard deviations of the data", gt=0, lt=1, default=1e-3)
    """Noise level at the end of sampling."""

    def build(self) -> UniformVPSchedule:
        """Builds the schedule."""
        from plumbline.models.diffusion._schedules import UniformVPSchedule

        return UniformVPSchedule(alpha_min=self.alpha_min, sigma_min=self.sigma_min)


class VPSDEScheduleSpec(Spec):
    """alpha(t) = exp(-t^2 (beta_max - beta_min) / 4 - t beta_min / 2), sigma^2 = 1 - alpha^2.

    Source: Song et al. (2021), eq. 33, https://arxiv.org/abs/2011.13456.
    """

    kind: Literal["vp_sde"] = "vp_sde"
    beta_min: float = key("1/time", gt=0, default=0.1)
    """Noise rate at time zero."""
    beta_max: float = key("1/time", gt=0, default=20.0)
    """Noise rate at time one."""
    first_time: float = key("time", gt=0, lt=1, default=1e-3)
    """Time at which sampling ends and the smallest in training; training times are uniform."""

    @model_validator(mode="after")
    def _ordered(self) -> VPSDEScheduleSpec:
        if self.beta_min >= self.beta_max:
            raise ValueError(
                f"`beta_min` must be less than `beta_max`, found {self.beta_min}, {self.beta_max}"
            )
        return self

    def build(self) -> VPSDESchedule:
        """Builds the schedule."""
        from plumbline.models.diffusion._schedules import VPSDESchedule

        return VPSDESchedule(beta_min=self.beta_min, beta_max=self.beta_max, first_time=self.first_time)


AnySchedule = Annotated[EDMScheduleSpec | VPScheduleSpec | VPSDEScheduleSpec, Field(discriminator="kind")]


class DenoiserSpec(ModelSpec):
    """Base of the models that learn a denoiser in the space of the data, or of a mirror map."""

    network: AnyNetwork
    """Backbone network."""
    schedule: AnySchedule = EDMScheduleSpec()
    """Noise schedule, with the distribution of noise levels in training."""
    scaling: Literal["per_feature", "global", "none"] = key(default="global")
    """Standardisation: a mean and a scale per coordinate, one of each, or none."""
    space: str | None = None
    """Name of a mirror map in whose space the model works; null for the space of the data."""

    def build_space(self, on: BuildContext) -> Standardisation | MirrorSpace:
        """Builds the space that the denoiser works in, before it is fitted."""
        from plumbline.models._spaces import MirrorSpace, Standardisation, sample_shape

        if self.space is None:
            return Standardisation(sample_shape(on.example).shape, self.scaling)
        return MirrorSpace(on.model(self.space, MirrorMap), self.scaling)

    def depends_on(self) -> dict[str, type]:
        return {self.space: MirrorMap} if self.space else {}


class DiffusionSpec(DenoiserSpec):
    """A diffusion model of standardised data, conditioned on the dataset's condition where it has one.

    Preconditioning and loss are those of Karras et al. (2022, https://arxiv.org/abs/2206.00364).
    """

    kind: Literal["diffusion"] = "diffusion"
    condition_on: tuple[Literal["condition", "label"], ...] | None = None
    """Variables of the dataset that the model is conditioned on: `condition` (a vector or a field), `label`
    (a class), both, or none; null for `condition` where the dataset has one."""
    classes: int | None = key(ge=1, default=None)
    """Number of classes, if `condition_on` has `label`: the labels are 0, 1, ..., classes - 1."""
    condition_dropout: float = key(ge=0, lt=1, default=0.0)
    """Probability that the condition of a sample is dropped in training, as `classifier_free` requires."""

    @model_validator(mode="after")
    def _classes_for_labels(self) -> DiffusionSpec:
        chosen = self.condition_on or ()
        if len(set(chosen)) != len(chosen):
            raise ValueError(f"`condition_on` names a variable twice: {', '.join(chosen)}")
        if ("label" in chosen) != (self.classes is not None):
            raise ValueError(
                "`classes` is the number of classes where `condition_on` has `label`: give both or none"
            )
        if self.condition_on == () and self.condition_dropout:
            raise ValueError("`condition_dropout` needs a condition, and `condition_on` is empty")
        return self

    def provides(self) -> tuple[type, ...]:
        return (ConditionDropping,) if self.condition_dropout else (Denoising,)

    def build(self, on: BuildContext) -> Diffusion:
        from plumbline.models._spaces import chosen_condition, sample_shape
        from plumbline.models.diffusion._diffusion import Diffusion

        condition = chosen_condition(
            on.example,
            condition_on=self.condition_on,
            classes=self.classes,
            droppable=self.condition_dropout > 0,
        )
        return Diffusion(
            backbone=self.network.build(condition.conditioned(sample_shape(on.example))),
            schedule=self.schedule.build(),
            space=self.build_space(on),
            condition=condition,
            condition_dropout=self.condition_dropout,
        )
