"""Lagrange multipliers of constraints on whole distributions, and the rules by which they are set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from plumbline.spec import Spec, key

if TYPE_CHECKING:
    from plumbline.models.distributional._multipliers import DualAscent, Multipliers, SimplexAscent


class AscentSpec(Spec):
    """Projected gradient ascent of a dual function."""

    learning_rate: float = key("multiplier per unit of violation", gt=0, default=1e-3)
    """Step of the multipliers. Too large, they overshoot before the model has followed."""
    every: int = key("optimiser steps", ge=1, default=2)
    """Primal steps to each dual step, which sees the mean violation over them."""
    start: int = key("optimiser steps", ge=0, default=0)
    """Primal steps before the first dual step: an untrained model violates everything."""


class DualAscentSpec(AscentSpec):
    """A multiplier rises while its constraint is violated, and falls to zero where it holds with room to spare."""

    kind: Literal["ascent"] = "ascent"
    initial: float = key(ge=0, default=0.0)
    """Multipliers at the start; zero is no constraint."""
    resilience: float | None = key("unit of violation, squared", gt=0, default=None)
    """alpha in the cost alpha z^2 / 2 of relaxing a threshold by z; null for thresholds that do not give way."""
    largest: float = key(gt=0, default=100.0)
    """Multiplier at which a constraint without resilience is taken to be infeasible, which ends the training."""

    @model_validator(mode="after")
    def _starts_below_the_largest(self) -> DualAscentSpec:
        if self.initial >= self.largest:
            raise ValueError(f"`initial` ({self.initial}) must be less than `largest` ({self.largest})")
        return self

    def build(self, constraints: int) -> DualAscent:
        """Multipliers of so many constraints."""
        from plumbline.models.distributional._multipliers import DualAscent

        return DualAscent(
            constraints,
            initial=self.initial,
            resilience=self.resilience,
            largest=self.largest,
            learning_rate=self.learning_rate,
            every=self.every,
            start=self.start,
        )


class SimplexAscentSpec(AscentSpec):
    """Multipliers that sum to one: they rise for the constraints that are violated most, whatever the bound is."""

    kind: Literal["simplex_ascent"] = "simplex_ascent"

    def build(self, constraints: int) -> SimplexAscent:
        """Multipliers of so many constraints, all alike at first."""
        from plumbline.models.distributional._multipliers import SimplexAscent

        return SimplexAscent(
            constraints, learning_rate=self.learning_rate, every=self.every, start=self.start
        )


class EqualMultipliersSpec(Spec):
    """Multipliers that sum to one and are all alike, throughout."""

    kind: Literal["equal"] = "equal"

    def build(self, constraints: int) -> Multipliers:
        """Multipliers of so many constraints."""
        from plumbline.models.distributional._multipliers import Multipliers

        return Multipliers([1 / constraints] * constraints)


class FixedMultipliersSpec(Spec):
    """The same multiplier for every constraint, throughout: the usual weights, set by hand."""

    kind: Literal["fixed"] = "fixed"
    value: float = key(ge=0)
    """The multiplier."""

    def build(self, constraints: int) -> Multipliers:
        """Multipliers of so many constraints."""
        from plumbline.models.distributional._multipliers import Multipliers

        return Multipliers([self.value] * constraints)


AnyWeights = Annotated[SimplexAscentSpec | EqualMultipliersSpec, Field(discriminator="kind")]
AnyMultipliers = Annotated[DualAscentSpec | FixedMultipliersSpec, Field(discriminator="kind")]
