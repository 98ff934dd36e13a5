"""Samplers: algorithms that draw from trained models, plain or under a constraint.

Most build an azula `Sampler` for a denoiser. The constrained kinds wrap another one, given under `base`, so that
they compose: guidance around Heun's method, a final projection around guidance. They meddle in three places, and in no other:

- the denoiser, whose posterior mean they correct (`guided`, `conditioned`);
- the step, whose result they move (`projected`);
- the finished samples, in the data's own units and in double precision (`finish`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import AfterValidator

from plumbline.spec import ByKind, Kind

if TYPE_CHECKING:
    from azula.denoise import Denoiser
    from azula.sample import Sampler
    from torch import Tensor


@dataclass
class Costs:
    """What drawing one sample cost so far, in operations on the whole batch."""

    network_evaluations: int = 0
    backward_passes: int = 0
    projection_solves: int = 0


@dataclass
class Problem:
    """What a sampler must know of the samples asked for.

    Attributes:
        space: maps the model's space to the data's units: `encode(x)`, `decode(z)`, `scale`; None where the
            model has no denoiser.
        constraints: constraints by name, bound to the conditions of this batch.
        batch: the variables of the samples of the test split that these are drawn for (B, ...), by name. What a
            sampler draws must not depend on `state`, except through its shape.
        device: where to draw.
        observation: what was measured of the true states, where the study observes them.
        costs: counted along the way.
        beat: called now and then, to tell that work goes on.
    """

    space: Any
    constraints: dict[str, Any]
    batch: dict[str, Tensor] = field(default_factory=dict)
    device: Any = "cpu"
    observation: Any = None
    costs: Costs = field(default_factory=Costs)
    beat: Callable[[], None] = lambda: None

    def known(self) -> dict[str, Tensor]:
        """The batch, on the device."""
        return {name: tensor.to(self.device) for name, tensor in self.batch.items()}

    def decode(self, z: Tensor) -> Tensor:
        """From the model's space to the data's units, at its cost: a mirror map asks a network on the way."""
        self.costs.network_evaluations += int(getattr(self.space, "decoding_evaluations", 0))
        return self.space.decode(z)


class SamplerSpec(Kind):
    """Base of the sampler kinds."""

    def draw(self, model: Any, problem: Problem) -> dict[str, Tensor]:
        """Samples (B, ...) under `state`, in the data's units; further tensors (B, ...) say more of each."""
        raise NotImplementedError

    def finish(self, x: Tensor, problem: Problem) -> Tensor:
        """The finished samples (B, ...), in the data's units and double precision."""
        del problem
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

    def dial(self) -> str | None:
        """The key whose number the sampler trades one merit for another by, which the report draws metrics against."""
        return None

    def constraint_names(self) -> list[str]:
        """The constraints that this sampler and those within use."""
        return sorted({s.constraint for s in self.nested() if isinstance(s, ConstrainedSpec)})


AnySampler = Annotated[SamplerSpec, ByKind()]


class DenoisingSpec(SamplerSpec):
    """Base of the kinds that draw by denoising: they build an azula `Sampler` for a denoiser."""

    def build(self, denoiser: Denoiser, problem: Problem) -> Sampler:
        """An azula sampler in the model's space."""
        raise NotImplementedError

    def draw(self, model: Any, problem: Problem) -> dict[str, Tensor]:
        from plumbline.samplers.wrappers.denoising import denoise

        return {"state": denoise(model, self, problem)}

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


class ConstrainedSpec(DenoisingSpec):
    """Base of the kinds that wrap another sampler to obey a constraint."""

    enforces: ClassVar[bool] = False
    """Whether it moves the finished samples onto the constraint, so that they need not obey another one any more."""

    constraint: str
    """Name of the constraint, one of the study's `constraints`."""
    base: AnySampler
    """The sampler that is wrapped."""

    def build(self, denoiser: Denoiser, problem: Problem) -> Sampler:
        return self.denoising_base().build(denoiser, problem)

    def last(self, sampler: Sampler, z: Tensor, conditions: dict[str, Any]) -> Tensor:
        return self.denoising_base().last(sampler, z, conditions)

    def denoising_base(self) -> DenoisingSpec:
        """The wrapped sampler, which must denoise; studies are checked for that."""
        assert isinstance(self.base, DenoisingSpec)
        return self.base

    def finish(self, x: Tensor, problem: Problem) -> Tensor:
        return self.base.finish(x, problem)

    def nested(self) -> Iterator[SamplerSpec]:
        yield self
        yield from self.base.nested()

    def requires(self) -> tuple[str, ...]:
        """Methods that the constraint must have (`project`, `condition`), for the check of the study."""
        return ()
