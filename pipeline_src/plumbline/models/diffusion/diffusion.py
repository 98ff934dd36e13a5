"""Diffusion models on azula: Karras preconditioning, EDM and VP schedules, any backbone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, cast

from pydantic import Field, model_validator

from plumbline.models import BuildContext, ModelSpec
from plumbline.networks import AnyNetwork
from plumbline.spec import Spec, key

if TYPE_CHECKING:
    from plumbline.models._spaces import Mirror, MirrorSpace, Standardisation
    from plumbline.models.diffusion._diffusion import Diffusion
    from plumbline.models.diffusion._schedules import EDMSchedule, UniformVPSchedule, VPSDESchedule


class EDMScheduleSpec(Spec):
    """sigma(t) = (sigma_min^(1/rho) + t (sigma_max^(1/rho) - sigma_min^(1/rho)))^rho, alpha = 1 (Karras et al. 2022)."""

    kind: Literal["edm"] = "edm"
    sigma_min: float = key("standard deviations of the data", gt=0, default=0.002)
    """Noise at the end of sampling."""
    sigma_max: float = key("standard deviations of the data", gt=0, default=80.0)
    """Noise at the start of sampling."""
    rho: float = key(ge=1, default=7.0)
    """How much of the steps goes to small noise."""
    log_sigma_mean: float = key(default=-1.2)
    """Mean of log sigma in training, which is normal (published: -0.5 in this unit, better where structure is at stake)."""
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
        from plumbline.models.diffusion._schedules import EDMSchedule

        return EDMSchedule(
            sigma_min=self.sigma_min,
            sigma_max=self.sigma_max,
            rho=self.rho,
            log_sigma_mean=self.log_sigma_mean,
            log_sigma_std=self.log_sigma_std,
        )


class VPScheduleSpec(Spec):
    """alpha(t) = alpha_min^(t^2), variance preserving (Ho et al. 2020); times are uniform in training."""

    kind: Literal["vp"] = "vp"
    alpha_min: float = key(gt=0, lt=1, default=1e-3)
    """Signal left at the start of sampling."""
    sigma_min: float = key("standard deviations of the data", gt=0, lt=1, default=1e-3)
    """Noise at the end of sampling."""

    def build(self) -> UniformVPSchedule:
        from plumbline.models.diffusion._schedules import UniformVPSchedule

        return UniformVPSchedule(alpha_min=self.alpha_min, sigma_min=self.sigma_min)


class VPSDEScheduleSpec(Spec):
    """alpha(t) = exp(-t^2 (beta_max - beta_min) / 4 - t beta_min / 2), sigma^2 = 1 - alpha^2 (Song et al. 2021)."""

    kind: Literal["vp_sde"] = "vp_sde"
    beta_min: float = key("1/time", gt=0, default=0.1)
    """Rate of the noising at its start."""
    beta_max: float = key("1/time", gt=0, default=20.0)
    """Rate at its end, at time one."""
    first_time: float = key("time", gt=0, lt=1, default=1e-3)
    """Time at which sampling ends, and the least that is trained at; other times are uniform in training."""

    @model_validator(mode="after")
    def _ordered(self) -> VPSDEScheduleSpec:
        if self.beta_min >= self.beta_max:
            raise ValueError(
                f"`beta_min` must be less than `beta_max`, found {self.beta_min}, {self.beta_max}"
            )
        return self

    def build(self) -> VPSDESchedule:
        from plumbline.models.diffusion._schedules import VPSDESchedule

        return VPSDESchedule(beta_min=self.beta_min, beta_max=self.beta_max, first_time=self.first_time)


AnySchedule = Annotated[EDMScheduleSpec | VPScheduleSpec | VPSDEScheduleSpec, Field(discriminator="kind")]


class DenoiserSpec(ModelSpec):
    """Base of the models that learn a denoiser in the space of the data, or of a mirror map."""

    network: AnyNetwork
    """The backbone."""
    schedule: AnySchedule = EDMScheduleSpec()
    """Noise schedule, and the noise levels seen in training."""
    scaling: Literal["per_feature", "global", "none"] = key(default="global")
    """Standardisation: a mean and a scale a coordinate, one of each, or none."""
    space: str | None = None
    """Name of a mirror map, in whose space the model works; null for that of the data."""

    def build_space(self, on: BuildContext) -> Standardisation | MirrorSpace:
        """The space that the denoiser works in, not fitted."""
        from plumbline.models._spaces import MirrorSpace, Standardisation, sample_shape

        if self.space is None:
            return Standardisation(sample_shape(on.example).shape, self.scaling)
        return MirrorSpace(cast("Mirror", on.models[self.space]), self.scaling)

    def depends_on(self) -> dict[str, str]:
        return {self.space: "mirror"} if self.space else {}


class DiffusionSpec(DenoiserSpec):
    """A denoiser of standardised data, conditioned on the dataset's condition where it has one."""

    kind: Literal["diffusion"] = "diffusion"

    def build(self, on: BuildContext) -> Diffusion:
        from plumbline.models._spaces import sample_shape
        from plumbline.models.diffusion._diffusion import Diffusion

        sample = sample_shape(on.example)
        return Diffusion(
            sample,
            backbone=self.network.build(sample),
            schedule=self.schedule.build(),
            space=self.build_space(on),
        )
