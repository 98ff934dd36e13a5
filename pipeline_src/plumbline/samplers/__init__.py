"""Samplers: algorithms that draw samples from trained models, with or without a constraint.

Most kinds build an azula `Sampler` for a denoiser. Others wrap a sampler, given under `base`, so they
compose: guidance around Heun's method, a final projection around guidance. `classifier_free` strengthens a
condition; the other wrapping kinds impose a constraint. A constraint can act on

- the denoiser: its posterior mean is corrected (`guided`, `conditioned`);
- the step: its result is corrected (`projected`, `dps`);
- the finished samples, in the data's units and in double precision (`finish`);
- the choice among several samples (`best_of_n`).

`spec.sample(model, task)` draws: a `SamplingTask` holds the inputs, and `Samples` holds the results and their
cost.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import AfterValidator

from plumbline._lazy import exports
from plumbline.constraints import ProjectableConstraint, ReportingConstraint
from plumbline.samplers._models import (
    ConditionDropping,
    Criticising,
    Denoising,
    LabelCriticising,
    LatentEditing,
    LatentVariable,
    PosteriorEncoding,
    Predictive,
    PriorSampling,
    Rewarding,
    Transporting,
)
from plumbline.samplers._task import Costs, Samples, SamplingTask
from plumbline.spec import ByKind, Kind

if TYPE_CHECKING:
    from azula.denoise import Denoiser
    from azula.sample import Sampler
    from torch import Tensor

    from plumbline.samplers._denoising import DenoisingContext


REQUIRED_OF_MODELS: tuple[type, ...] = (
    Transporting,
    Denoising,
    ConditionDropping,
    Predictive,
    PriorSampling,
    LatentVariable,
    PosteriorEncoding,
    LatentEditing,
    Criticising,
    LabelCriticising,
    Rewarding,
)
"""The Protocols that the library's samplers require of models. Each sampler requires one of them."""


class SamplerSpec(Kind):
    """Base of the sampler kinds."""

    def sample(self, model: object, task: SamplingTask) -> Samples:
        """Draws and finishes samples.

        Args:
            model: a model that satisfies the Protocol `requires_of_model()`.
            task: the conditions, constraints and observation of the samples.

        Returns:
            The samples on the task's device, in the data's units and single precision. If the task has an
            observation, the details contain the true states as `truth`, and `misfit` (B,), the mean square of
            the observation's residual in units of the noise.
        """
        import torch

        drawn = self.draw(model, task)
        with torch.no_grad():
            finished = self.finish(Samples(drawn.state.double(), drawn.details, drawn.costs), task)
            state, details = finished.state, dict(finished.details)
            if task.observation is not None:
                details["misfit"] = task.observation.residual(state).square().mean(1)
                details["truth"] = task.batch["state"]
        return Samples(state.float(), {name: tensor.float() for name, tensor in details.items()}, drawn.costs)

    def draw(self, model: object, task: SamplingTask) -> Samples:
        """Draws samples on the task's device, not yet finished.

        Each kind annotates `model` with the Protocol that it requires.
        """
        raise NotImplementedError

    def finish(self, drawn: Samples, task: SamplingTask) -> Samples:
        """Finishes drawn samples, in the data's units and double precision. The default changes nothing."""
        return drawn

    def requires_of_model(self) -> type:
        """The Protocol that a model must satisfy, such as `Denoising`."""
        raise NotImplementedError

    def nested(self) -> Iterator[SamplerSpec]:
        """This sampler and the samplers that it wraps, outermost first."""
        yield self

    def differentiates(self) -> bool:
        """Whether it backpropagates through the denoiser. Its result cannot be differentiated again."""
        return False

    def is_timed(self) -> bool:
        """Whether its wall time is the cost of the method, to be reported."""
        return True

    def observes(self) -> bool:
        """Whether it requires the study's observation."""
        return False

    def tradeoff_parameter(self) -> str | None:
        """The key that trades one metric for another; the report plots metrics against its value."""
        return None

    def constraint_names(self) -> list[str]:
        """The names of the constraints that this sampler and the samplers it wraps use."""
        return sorted({s.constraint for s in self.nested() if isinstance(s, ImposingSpec)})


AnySampler = Annotated[SamplerSpec, ByKind()]


class DenoisingSpec(SamplerSpec):
    """Base of the kinds that draw by denoising. They build an azula `Sampler` for a denoiser."""

    def build(self, denoiser: Denoiser, context: DenoisingContext) -> Sampler:
        """Builds the azula sampler, which works in the model's space."""
        raise NotImplementedError

    def draw(self, model: Transporting, task: SamplingTask) -> Samples:
        from plumbline.samplers._denoising import denoise

        costs = Costs()
        details: dict[str, Tensor] = {}
        return Samples(denoise(model, self, task, costs, details), details, costs)

    def first(self, sampler: Sampler, z: Tensor, conditions: Mapping[str, object]) -> Tensor:
        """The first point (B, ...) of the sampler, for the noise z (B, ...) of its first time."""
        return z

    def last(self, sampler: Sampler, z: Tensor, conditions: Mapping[str, object]) -> Tensor:
        """Denoises the last point z (B, ...) of the sampler once more, at the sampler's last time."""
        import torch

        return sampler.denoiser(z, torch.full((), sampler.stop, device=z.device), **conditions).mean

    def requires_of_model(self) -> type:
        return Transporting if self.is_deterministic() else Denoising

    def is_deterministic(self) -> bool:
        """Whether a sample is a function of its first noise."""
        return False


def _require_denoising(sampler: SamplerSpec) -> SamplerSpec:
    if not isinstance(sampler, DenoisingSpec):
        raise ValueError(f"`{sampler.kind}` does not draw by denoising")
    return sampler


AnyDenoisingSampler = Annotated[SamplerSpec, ByKind(), AfterValidator(_require_denoising)]


class WrappingSpec(SamplerSpec):
    """Base of the kinds that wrap another sampler."""

    within_denoising: ClassVar[bool] = False
    """Whether it changes the denoising of the wrapped sampler, which must then draw by denoising."""

    base: AnySampler
    """The wrapped sampler."""

    def finish(self, drawn: Samples, task: SamplingTask) -> Samples:
        return self.base.finish(drawn, task)

    def requires_of_model(self) -> type:
        return self.base.requires_of_model()

    def nested(self) -> Iterator[SamplerSpec]:
        yield self
        yield from self.base.nested()


class DenoisingWrapperSpec(WrappingSpec, DenoisingSpec):
    """Base of the wrapping kinds that change the denoising of the wrapped sampler."""

    within_denoising: ClassVar[bool] = True

    def build(self, denoiser: Denoiser, context: DenoisingContext) -> Sampler:
        return self.denoising_base().build(denoiser, context)

    def first(self, sampler: Sampler, z: Tensor, conditions: Mapping[str, object]) -> Tensor:
        return self.denoising_base().first(sampler, z, conditions)

    def last(self, sampler: Sampler, z: Tensor, conditions: Mapping[str, object]) -> Tensor:
        return self.denoising_base().last(sampler, z, conditions)

    def is_deterministic(self) -> bool:
        return self.denoising_base().is_deterministic()

    def requires_of_model(self) -> type:
        # What is done to a clean estimate takes it for the posterior mean given independent noise.
        needed = super().requires_of_model()
        return Denoising if needed is Transporting else needed

    def denoising_base(self) -> DenoisingSpec:
        """The wrapped sampler. The study's check ensures that it draws by denoising."""
        assert isinstance(self.base, DenoisingSpec)
        return self.base


class ImposingSpec(SamplerSpec):
    """Base of the kinds that impose a constraint.

    A kind that wraps another sampler also derives from `WrappingSpec` or one of its subclasses.
    """

    enforces: ClassVar[bool] = False
    """Whether it projects the finished samples onto the constraint, which can undo another constraint."""

    constraint: str
    """Name of the constraint, one of the study's `constraints`."""

    def requires(self) -> tuple[type, ...]:
        """The Protocols that the constraint must satisfy beyond `Constraint`."""
        return ()


class ConstrainedSpec(ImposingSpec, DenoisingWrapperSpec):
    """Base of the kinds that impose a constraint within the denoising of the wrapped sampler."""


class EnforcingSpec(ImposingSpec):
    """Base of the kinds that project the finished samples onto the constraint."""

    enforces: ClassVar[bool] = True

    def finish(self, drawn: Samples, task: SamplingTask) -> Samples:
        finished = super().finish(drawn, task)
        finished.costs.projection_solves += 1
        state, details = self.moved(finished.state, task)
        return Samples(state, {**finished.details, **details}, finished.costs)

    def moved(self, x: Tensor, task: SamplingTask) -> tuple[Tensor, dict[str, Tensor]]:
        """Projects samples (B, ...).

        Returns:
            The nearest feasible point of each sample (B, ...), and the details of the projection if the
            constraint reports them.
        """
        constraint = task.projectable(self.constraint)
        if not isinstance(constraint, ReportingConstraint):
            return constraint.project(x), {}
        report = constraint.project_with_report(x)
        report.warn(self.constraint)
        return report.points, report.details()

    def requires(self) -> tuple[type, ...]:
        return (ProjectableConstraint,)


__getattr__ = exports(
    __name__,
    {
        "_models": ("LatentVectors", "Space", "WantedLabels", "WantedLevels"),
        "_azula": ("ConditionedDenoiser", "draw"),
        "annealed_langevin": ("AnnealedLangevinSpec",),
        "best_of_n": ("BestOfNSpec",),
        "classifier_free": ("ClassifierFreeSpec",),
        "conditioned": ("ConditionedSpec",),
        "d_flow": ("DFlowSpec",),
        "ddim": ("DDIMSpec",),
        "ddpm": ("DDPMSpec",),
        "diffpir": ("DiffPIRSpec",),
        "diffusion_pde": ("DiffusionPDESpec",),
        "dps": ("DPSSpec",),
        "draw_and_renoise": ("DrawAndRenoiseSpec",),
        "eci": ("ECISpec",),
        "euler_maruyama": ("EulerMaruyamaSpec",),
        "final_completion": ("FinalCompletionSpec",),
        "final_projection": ("FinalProjectionSpec",),
        "flow": ("FlowSpec",),
        "from_file": ("FromFileSpec",),
        "guided": ("GuidedSpec",),
        "heun": ("HeunSpec",),
        "latent_descent": ("LatentDescentSpec",),
        "latent_edit": ("LatentEditSpec",),
        "latent_rejection": ("LatentRejectionSpec",),
        "latents": ("LatentsSpec",),
        "mmps": ("MMPSSpec",),
        "multistep": ("MultistepSpec",),
        "pcfm": ("PCFMSpec",),
        "pgdm": ("PGDMSpec",),
        "ppr": ("PPRSpec",),
        "predictive": ("PredictiveSpec",),
        "prior": ("PriorSpec",),
        "project_renoise": ("ProjectRenoiseSpec",),
        "projected": ("ProjectedSpec",),
        "reconstruction": ("ReconstructionSpec",),
        "repaint": ("RePaintSpec",),
        "residual_correction": ("ResidualCorrectionSpec",),
        "tangent_langevin": ("TangentLangevinSpec",),
        "tds": ("TDSSpec",),
        "tilted": ("TiltedSpec",),
        "tmpd": ("TMPDSpec",),
        "twisted_smc": ("TwistedSMCSpec",),
    },
)
"""Public classes of the package's modules, imported on first access."""
