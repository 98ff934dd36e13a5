"""Diffusion and flow-matching models on azula: schedules, parametrisations, noise, any backbone.

A flow-matching model is a diffusion model with the schedule `rectified` and the parametrisation `velocity`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from plumbline.models import (
    BuildContext,
    ConditionDropping,
    Denoising,
    MirrorMap,
    ModelSpec,
    Transporting,
)
from plumbline.models.diffusion._residual_specs import AnyResidual, ConflictFreeSpec
from plumbline.networks import AnyNetwork, GridNetworkSpec
from plumbline.spec import Spec, key

if TYPE_CHECKING:
    from plumbline.models._spaces import MirrorSpace, Standardisation
    from plumbline.models.diffusion._diffusion import Diffusion
    from plumbline.models.diffusion._noise import GaussianField
    from plumbline.models.diffusion._schedules import (
        EDMSchedule,
        FlowSchedule,
        UniformCosineSchedule,
        UniformVPSchedule,
        VPSDESchedule,
    )


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


class CosineScheduleSpec(Spec):
    """alpha(t) = cos(t arccos(alpha_min)), variance preserving; training times are uniform.

    Source: Nichol and Dhariwal (2021), https://arxiv.org/abs/2102.09672, without their small offset.
    """

    kind: Literal["cosine"] = "cosine"
    alpha_min: float = key(gt=0, lt=1, default=1e-3)
    """Signal level alpha at the start of sampling."""
    sigma_min: float = key("standard deviations of the data", gt=0, lt=1, default=1e-3)
    """Noise level at the end of sampling."""

    def build(self) -> UniformCosineSchedule:
        """Builds the schedule."""
        from plumbline.models.diffusion._schedules import UniformCosineSchedule

        return UniformCosineSchedule(alpha_min=self.alpha_min, sigma_min=self.sigma_min)


class RectifiedScheduleSpec(Spec):
    """alpha(t) = 1 - t (1 - alpha_min), sigma(t) = sigma_min + t (1 - sigma_min): that of flow matching.

    Source: Lipman et al. (2023), https://arxiv.org/abs/2210.02747. Published flows end at zero; alpha_min and
    sigma_min keep the ratio of noise and signal finite.
    """

    kind: Literal["rectified"] = "rectified"
    alpha_min: float = key(gt=0, lt=1, default=1e-3)
    """Smallest alpha, at t = 1."""
    sigma_min: float = key(gt=0, lt=1, default=1e-3)
    """Smallest sigma, at t = 0."""
    times: Literal["uniform", "logit_normal"] = "uniform"
    """Distribution of training times: uniform, or logit-normal with more of them in the middle (Esser et al.
    2024, https://arxiv.org/abs/2403.03206)."""
    logit_mean: float = key(default=0.0)
    """Mean of the logit of training times, if they are logit-normal."""
    logit_std: float = key(gt=0, default=1.0)
    """Standard deviation of the logit of training times, if they are logit-normal."""

    def build(self) -> FlowSchedule:
        """Builds the schedule."""
        from plumbline.models.diffusion._schedules import FlowSchedule

        return FlowSchedule(
            alpha_min=self.alpha_min,
            sigma_min=self.sigma_min,
            logit_std=self.logit_std if self.times == "logit_normal" else None,
            logit_mean=self.logit_mean,
        )


AnySchedule = Annotated[
    EDMScheduleSpec | VPScheduleSpec | VPSDEScheduleSpec | CosineScheduleSpec | RectifiedScheduleSpec,
    Field(discriminator="kind"),
]


class GaussianFieldSpec(Spec):
    """Noise that is a Gaussian random field on a periodic grid, with Matern's spectrum and unit variance.

    Source of noise in function space: Kerrigan, Migliorini, Smyth (2024), https://arxiv.org/abs/2305.17209.
    Any sampler draws from a model with such noise; those that need the coordinates of the data, such as
    `conditioned`, do not.
    """

    kind: Literal["gaussian_field"] = "gaussian_field"
    grid_dimensions: Literal[1, 2, 3] = 2
    """Number of the last dimensions of a sample that form the grid; those before are independent channels."""
    length: float = key("fraction of an axis", gt=0, le=1, default=0.05)
    """Correlation length along each axis."""
    smoothness: float = key(gt=0, le=5, default=0.5)
    """Matern's nu: the field is continuous above zero, and differentiable above one."""

    def build(self, shape: tuple[int, ...]) -> GaussianField:
        """Builds the noise for samples of this shape."""
        from plumbline.models.diffusion._noise import GaussianField

        return GaussianField(
            shape,
            grid_dimensions=self.grid_dimensions,
            length=self.length,
            smoothness=self.smoothness,
        )


class DenoiserSpec(ModelSpec):
    """Base of the models that learn a denoiser in the space of the data, or of a mirror map."""

    network: AnyNetwork
    """Backbone network."""
    schedule: AnySchedule = EDMScheduleSpec()
    """Noise schedule, with the distribution of noise levels in training."""
    scaling: Literal["per_feature", "global", "none"] = key(default="global")
    """Standardisation: a mean and a scale per coordinate, one of each, or none."""
    covariance_rank: int | None = key(ge=0, default=None)
    """Number of eigenvectors of the training data's covariance that are stored with the model, for samplers
    such as `conditioned`; null for all up to 1,024 coordinates and 128 beyond; 0 for none."""
    space: str | None = None
    """Name of a mirror map in whose space the model works; null for the space of the data."""

    def build_space(self, on: BuildContext) -> Standardisation | MirrorSpace:
        """Builds the space that the denoiser works in, before it is fitted."""
        from plumbline.models._data_covariance import DataCovariance
        from plumbline.models._spaces import MirrorSpace, Standardisation, sample_shape

        if self.space is None:
            shape = sample_shape(on.example).shape
            rank = self.covariance_rank
            covariance = None if rank == 0 else DataCovariance(math.prod(shape), rank)
            return Standardisation(shape, self.scaling, covariance=covariance)
        return MirrorSpace(on.model(self.space, MirrorMap), self.scaling)

    def depends_on(self) -> dict[str, type]:
        return {self.space: MirrorMap} if self.space else {}


class DiffusionSpec(DenoiserSpec):
    """A diffusion model of standardised data, conditioned on the dataset's condition where it has one.

    Preconditioning and loss are those of Karras et al. (2022, https://arxiv.org/abs/2206.00364) by default.
    With `schedule: {kind: rectified}` and `parametrisation: velocity`, it is a flow-matching model.
    """

    kind: Literal["diffusion"] = "diffusion"
    parametrisation: Literal["karras", "velocity"] = "karras"
    """What the network predicts: Karras' combination of sample and noise, or the velocity e - x of the
    straight path between them, as in flow matching (https://arxiv.org/abs/2210.02747)."""
    coupling: Literal["independent", "optimal_transport"] = "independent"
    """How samples and noise are paired in training: independently, or by optimal transport within each batch
    (Tong et al. 2024, https://arxiv.org/abs/2302.00482). The second needs deterministic samplers, such as
    `flow`, and a model without a condition."""
    noise: GaussianFieldSpec | None = None
    """Noise with a covariance; null for white noise."""
    residual: AnyResidual | None = None
    """Training with the residual of a constraint, as PIDM and PBFM do; null for none."""
    residual_gradient: str | None = None
    """Name of a constraint: a network over a grid is conditioned on the gradient of its residual at the noisy
    sample (https://arxiv.org/abs/2211.14680); null for none. `classifier_free` strengthens it (published: by
    the scale 3)."""
    condition_on: tuple[Literal["condition", "label"], ...] | None = None
    """Variables of the dataset that the model is conditioned on: `condition` (a vector or a field), `label`
    (a class), both, or none; null for `condition` where the dataset has one."""
    classes: int | None = key(ge=1, default=None)
    """Number of classes, if `condition_on` has `label`: the labels are 0, 1, ..., classes - 1."""
    condition_dropout: float = key(ge=0, lt=1, default=0.0)
    """Probability that the condition of a sample is dropped in training, as `classifier_free` requires
    (published for `residual_gradient`: 0.1)."""

    @model_validator(mode="after")
    def _classes_for_labels(self) -> DiffusionSpec:
        chosen = self.condition_on or ()
        if len(set(chosen)) != len(chosen):
            raise ValueError(f"`condition_on` names a variable twice: {', '.join(chosen)}")
        if ("label" in chosen) != (self.classes is not None):
            raise ValueError(
                "`classes` is the number of classes where `condition_on` has `label`: give both or none"
            )
        if self.condition_on == () and self.condition_dropout and self.residual_gradient is None:
            raise ValueError("`condition_dropout` needs a condition, and `condition_on` is empty")
        return self

    @model_validator(mode="after")
    def _gradient_is_a_field(self) -> DiffusionSpec:
        if self.residual_gradient is not None and not isinstance(self.network, GridNetworkSpec):
            raise ValueError(
                f"`residual_gradient` is a field on the grid, which `{self.network.kind}` does not take: use "
                "`unet`, `dit` or `fno`, or set it to null"
            )
        return self

    @model_validator(mode="after")
    def _gradients_in_single_precision(self) -> DiffusionSpec:
        if isinstance(self.residual, ConflictFreeSpec) and self.training.precision == "16-mixed":
            raise ValueError(
                "`residual` of the kind `conflict_free` takes gradients within the loss, where they are not "
                "scaled against underflow in float16: set `training.precision` to `bf16-mixed` or `32-true`"
            )
        return self

    def constraint_names(self) -> list[str]:
        trained = None if self.residual is None else self.residual.constraint
        return list(dict.fromkeys(name for name in (trained, self.residual_gradient) if name is not None))

    def constraint_key(self, name: str) -> str:
        return "residual_gradient" if name == self.residual_gradient else "residual.constraint"

    def provides(self) -> tuple[type, ...]:
        if self.coupling != "independent":
            return (Transporting,)
        return (ConditionDropping,) if self.condition_dropout else (Denoising,)

    def build(self, on: BuildContext) -> Diffusion:
        from plumbline.models._spaces import chosen_condition, sample_shape
        from plumbline.models.diffusion._diffusion import Diffusion
        from plumbline.models.diffusion._residual_gradient import GradientBackbone, shown_gradient

        condition = chosen_condition(
            on.example,
            condition_on=self.condition_on,
            classes=self.classes,
            droppable=self.condition_dropout > 0,
            gradient=self.residual_gradient is not None,
        )
        sample, space = condition.conditioned(sample_shape(on.example)), self.build_space(on)
        if self.residual_gradient is None:
            backbone = self.network.build(sample)
        else:
            sample = shown_gradient(sample)
            backbone = GradientBackbone(
                self.network.build(sample), space, on.constraints[self.residual_gradient], sample.shared
            )
        return Diffusion(
            backbone=backbone,
            schedule=self.schedule.build(),
            space=space,
            condition=condition,
            condition_dropout=self.condition_dropout,
            parametrisation=self.parametrisation,
            coupling=self.coupling,
            noise=None if self.noise is None else self.noise.build(sample_shape(on.example).shape),
            constraint=None if self.residual is None else on.constraints[self.residual.constraint],
            residual_loss=None if self.residual is None else self.residual.build(self.training.steps),
        )
