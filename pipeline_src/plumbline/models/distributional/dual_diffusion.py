"""Diffusion models under constraints on their divergences from several distributions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from plumbline.models import BuildContext, Denoising
from plumbline.models.diffusion.diffusion import DenoiserSpec
from plumbline.models.distributional._multiplier_specs import (
    DualAscentSpec,
    EqualMultipliersSpec,
    FixedMultipliersSpec,
    ProportionalIntegralSpec,
    SimplexAscentSpec,
)
from plumbline.models.distributional._set_specs import (
    ConstraintSetSpec,
    Objective,
    ThresholdUnit,
    constrained_columns,
)
from plumbline.spec import Spec, key

if TYPE_CHECKING:
    from plumbline.models.distributional._divergences import DisjointMultipliers
    from plumbline.models.distributional._dual_diffusion import DualDiffusion


class DisjointMultipliersSpec(Spec):
    """The optimal multipliers in closed form, for disjoint sets: dual ascent should converge to them."""

    kind: Literal["disjoint"] = "disjoint"

    def build(self, constraints: int) -> DisjointMultipliers:
        """Builds the multipliers of a number of constraints."""
        from plumbline.models.distributional._divergences import DisjointMultipliers

        return DisjointMultipliers([0.0] * constraints)


class DualDiffusionSpec(DenoiserSpec):
    """A diffusion model of its data under constraints on its divergence from each of several sets.

    Sources: Khalafi, Ding, Ribeiro (NeurIPS 2024), https://arxiv.org/abs/2408.15094; for the objectives
    without data Khalafi, Hounie, Ding, Ribeiro (NeurIPS 2025), https://arxiv.org/abs/2508.19104.
    """

    kind: Literal["dual_diffusion"] = "dual_diffusion"
    sets: dict[Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")], ConstraintSetSpec] = Field(
        min_length=1
    )
    """The constraint distributions by name."""
    objective: Objective = "data"
    """What is minimised: the divergence from the data, under thresholds; the largest divergence from a set;
    or the largest cross-entropy, which adds the entropy of the set."""
    set_batch: int = key("samples", ge=1, default=32)
    """Samples of each set per step, drawn with replacement, in addition to the batch of the data."""
    multipliers: Annotated[
        DualAscentSpec
        | ProportionalIntegralSpec
        | FixedMultipliersSpec
        | DisjointMultipliersSpec
        | SimplexAscentSpec
        | EqualMultipliersSpec,
        Field(discriminator="kind"),
    ] = DualAscentSpec()
    """Multipliers of the constraints; those of the largest divergence or cross-entropy sum to one."""
    unit: ThresholdUnit = "nats"
    """Unit of the thresholds: nats, of divergences, or that of the denoising loss of a set, as published. A
    loss needs no oracle, but contains the unknown entropy of the set: see `docs/dual_training.md`."""
    smoothing: float = key("standard deviations of the data", gt=0, default=0.3)
    """Noise on both distributions of a divergence; hides details where networks err more than sets differ."""

    @model_validator(mode="after")
    def _multipliers_of_the_objective(self) -> DualDiffusionSpec:
        bounded = self.objective == "data"
        for name, entry in self.sets.items():
            if bounded and entry.threshold is None:
                raise ValueError(f"`sets.{name}.threshold` is required where the objective is `data`")
            if not bounded and entry.threshold is not None:
                raise ValueError(
                    f"`sets.{name}.threshold` has no meaning for the objective `{self.objective}`"
                )
            if self.objective == "largest_cross_entropy" and entry.oracle is not None:
                raise ValueError(f"`sets.{name}.oracle` has no meaning for the objective `{self.objective}`")
        if bounded == isinstance(self.multipliers, SimplexAscentSpec | EqualMultipliersSpec):
            fit = (
                "`ascent`, `proportional_integral`, `fixed` or `disjoint`"
                if bounded
                else "`simplex_ascent` or `equal`"
            )
            raise ValueError(f"`multipliers`: the objective `{self.objective}` goes with {fit}")
        return self

    @model_validator(mode="after")
    def _losses_of_the_data(self) -> DualDiffusionSpec:
        if self.unit == "nats":
            return self
        if self.objective != "data":
            raise ValueError(f"`unit: loss` goes with the objective `data`, found `{self.objective}`")
        if isinstance(self.multipliers, DisjointMultipliersSpec):
            raise ValueError("`multipliers`: `disjoint` requires thresholds in nats, found `unit: loss`")
        for name, entry in self.sets.items():
            if entry.oracle is not None:
                raise ValueError(f"`sets.{name}.oracle` has no meaning with `unit: loss`")
        return self

    @model_validator(mode="after")
    def _nothing_known_in_the_space_of_a_map(self) -> DualDiffusionSpec:
        if self.space is None:
            return self
        if self.objective == "largest_cross_entropy":
            raise ValueError("`space`: the cross-entropy of samples is not that of their images under a map")
        for name, entry in self.sets.items():
            if known := entry.known_by():
                raise ValueError(
                    f"`sets.{name}`: {known!r} cannot be evaluated in the space of the map {self.space!r}; "
                    f"let the set be learned, by `where` or `dataset` without `oracle`"
                )
        return self

    def build(self, on: BuildContext) -> DualDiffusion:
        from plumbline.models._spaces import sample_shape
        from plumbline.models.distributional._dual_diffusion import DualDiffusion

        return DualDiffusion(
            sample_shape(on.example),
            {
                name: on.model(name, Denoising)
                for name, capability in self.depends_on().items()
                if capability is Denoising
            },
            network=self.network.build,
            schedule=self.schedule.build(),
            space=self.build_space(on),
            sets=self.sets,
            objective=self.objective,
            multipliers=self.multipliers.build(len(self.sets)),
            set_batch=self.set_batch,
            smoothing=self.smoothing,
            unit=self.unit,
        )

    def depends_on(self) -> dict[str, type]:
        named = [
            name
            for entry in self.sets.values()
            for name in (entry.oracle, entry.drawn.model if entry.drawn else None)
        ]
        return {**super().depends_on(), **{name: Denoising for name in named if name}}

    def bounds(self) -> dict[str, tuple[str, float | None]]:
        return {
            name: (column, self.sets[name].threshold)
            for name, column in constrained_columns(self.sets, self.objective, self.unit).items()
        }
