"""Samplers: algorithms that draw from trained models, freely or under a constraint.

Most build an azula `Sampler` for a denoiser. The constrained kinds wrap another one, given under `base`, so that they compose:
guidance around Heun's method, a final projection around guidance. A constraint acts

- on the denoiser, whose posterior mean is corrected (`guided`, `conditioned`);
- on the step, whose result is moved (`projected`, `dps`);
- on the finished samples, in the data's own units and in double precision (`finish`);
- on the choice among several draws (`best_of_n`).

`spec.sample(model, task)` draws: a `SamplingTask` says what is asked for, `Samples` what came out and what it cost.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import AfterValidator

from plumbline._lazy import exports
from plumbline.samplers._task import Costs, Samples, SamplingTask
from plumbline.spec import ByKind, Kind

if TYPE_CHECKING:
    from azula.denoise import Denoiser
    from azula.sample import Sampler
    from torch import Tensor

    from plumbline.samplers._denoising import DenoisingContext


class SamplerSpec(Kind):
    """Base of the sampler kinds."""

    def sample(self, model: Any, task: SamplingTask) -> Samples:
        """Finished samples on the CPU, in the data's units and single precision.

        Where states are observed, `misfit` (B,) is the mean square of the residual over the noise, and `truth` the true states.
        """
        import torch

        drawn = self.draw(model, task)
        details = dict(drawn.details)
        with torch.no_grad():
            state = self.finish(drawn.state.double(), task, drawn.costs)
            if task.observation is not None:
                details["misfit"] = task.observation.residual(state).square().mean(1)
                details["truth"] = task.batch["state"]
        on_cpu = {name: tensor.float().cpu() for name, tensor in details.items()}
        return Samples(state.float().cpu(), on_cpu, drawn.costs)

    def draw(self, model: Any, task: SamplingTask) -> Samples:
        """Samples on the task's device, as the algorithm leaves them."""
        raise NotImplementedError

    def finish(self, x: Tensor, task: SamplingTask, costs: Costs) -> Tensor:
        """The finished samples (B, ...) of drawn ones, in the data's units and double precision."""
        return x

    def needs(self) -> str:
        """What a model must offer: `denoiser`, `law`, `prior`."""
        raise NotImplementedError

    def nested(self) -> Iterator[SamplerSpec]:
        """This sampler and those that it wraps, from the outside in."""
        yield self

    def differentiates(self) -> bool:
        """Whether it goes back through the denoiser, and hands on what cannot be gone back through again."""
        return False

    def observes(self) -> bool:
        """Whether it needs the study's observation."""
        return False

    def tradeoff_parameter(self) -> str | None:
        """The key whose number the sampler trades one merit for another by, which the report draws metrics against."""
        return None

    def constraint_names(self) -> list[str]:
        """The constraints that this sampler and those within use."""
        return sorted({s.constraint for s in self.nested() if isinstance(s, WrappingSpec)})


AnySampler = Annotated[SamplerSpec, ByKind()]


class DenoisingSpec(SamplerSpec):
    """Base of the kinds that draw by denoising: they build an azula `Sampler` for a denoiser."""

    def build(self, denoiser: Denoiser, context: DenoisingContext) -> Sampler:
        """An azula sampler in the model's space."""
        raise NotImplementedError

    def draw(self, model: Any, task: SamplingTask) -> Samples:
        from plumbline.samplers._denoising import denoise

        costs = Costs()
        return Samples(denoise(model, self, task, costs), {}, costs)

    def last(self, sampler: Sampler, z: Tensor, conditions: dict[str, Any]) -> Tensor:
        """What is returned of the point (B, ...) that the sampler ends at: what is left when its noise is taken off."""
        import torch

        return sampler.denoiser(z, torch.tensor(sampler.stop, device=z.device), **conditions).mean

    def needs(self) -> str:
        return "denoiser"


def _that_denoises(sampler: SamplerSpec) -> SamplerSpec:
    if not isinstance(sampler, DenoisingSpec):
        raise ValueError(f"`{sampler.kind}` does not draw by denoising")
    return sampler


AnyDenoisingSampler = Annotated[SamplerSpec, ByKind(), AfterValidator(_that_denoises)]


class WrappingSpec(SamplerSpec):
    """Base of the kinds that wrap another sampler to obey a constraint."""

    enforces: ClassVar[bool] = False
    """Whether it moves the finished samples onto the constraint, so that they need not obey another one any more."""
    within_denoising: ClassVar[bool] = False
    """Whether it takes part in the denoising of the sampler that it wraps, which must then draw by denoising."""

    constraint: str
    """Name of the constraint, one of the study's `constraints`."""
    base: AnySampler
    """The sampler that is wrapped."""

    def finish(self, x: Tensor, task: SamplingTask, costs: Costs) -> Tensor:
        return self.base.finish(x, task, costs)

    def needs(self) -> str:
        return self.base.needs()

    def nested(self) -> Iterator[SamplerSpec]:
        yield self
        yield from self.base.nested()

    def requires(self) -> tuple[str, ...]:
        """Methods that the constraint must have (`project`, `condition`), for the check of the study."""
        return ()


class ConstrainedSpec(WrappingSpec, DenoisingSpec):
    """Base of the wrapping kinds that can stand within the denoising of another one."""

    within_denoising: ClassVar[bool] = True

    def build(self, denoiser: Denoiser, context: DenoisingContext) -> Sampler:
        return self.denoising_base().build(denoiser, context)

    def last(self, sampler: Sampler, z: Tensor, conditions: dict[str, Any]) -> Tensor:
        return self.denoising_base().last(sampler, z, conditions)

    def denoising_base(self) -> DenoisingSpec:
        """The wrapped sampler, which must denoise; studies are checked for that."""
        assert isinstance(self.base, DenoisingSpec)
        return self.base


class EnforcingSpec(ConstrainedSpec):
    """Base of the wrapping kinds that move the finished samples onto the constraint."""

    enforces: ClassVar[bool] = True

    def finish(self, x: Tensor, task: SamplingTask, costs: Costs) -> Tensor:
        costs.projection_solves += 1
        return self.moved(self.base.finish(x, task, costs), task)

    def moved(self, x: Tensor, task: SamplingTask) -> Tensor:
        """The nearest feasible point of each sample (B, ...)."""
        return task.projectable(self.constraint).project(x)

    def requires(self) -> tuple[str, ...]:
        return ("project",)


__getattr__ = exports(
    __name__,
    {
        "annealed_langevin": ("AnnealedLangevinSpec",),
        "best_of_n": ("BestOfNSpec",),
        "conditioned": ("ConditionedSpec",),
        "ddim": ("DDIMSpec",),
        "ddpm": ("DDPMSpec",),
        "dps": ("DPSSpec",),
        "euler_maruyama": ("EulerMaruyamaSpec",),
        "final_completion": ("FinalCompletionSpec",),
        "final_projection": ("FinalProjectionSpec",),
        "guided": ("GuidedSpec",),
        "heun": ("HeunSpec",),
        "latent_descent": ("LatentDescentSpec",),
        "latent_edit": ("LatentEditSpec",),
        "latent_rejection": ("LatentRejectionSpec",),
        "latents": ("LatentsSpec",),
        "predictive": ("PredictiveSpec",),
        "prior": ("PriorSpec",),
        "projected": ("ProjectedSpec",),
        "reconstruction": ("ReconstructionSpec",),
        "tilted": ("TiltedSpec",),
    },
)
"""Public classes of the room's modules, imported when they are first asked for."""
