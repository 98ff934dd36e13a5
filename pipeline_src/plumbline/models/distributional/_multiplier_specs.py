"""Specs of the Lagrange multipliers of constraints on distributions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from plumbline.spec import Spec, key

if TYPE_CHECKING:
    from plumbline.models.distributional._multipliers import (
        AscentOptions,
        DualAscent,
        Multipliers,
        ProportionalIntegral,
        SimplexAscent,
    )


class AscentSpec(Spec):
    """Base of the projected gradient ascents of a dual function."""

    learning_rate: float = key("multiplier per unit of violation", gt=0, default=1e-3)
    """Step size of the multipliers; if it is too large, they overshoot before the model can follow."""
    every: int = key("optimiser steps", ge=1, default=2)
    """Primal steps per dual step, which uses the mean violation over them."""
    start: int = key("optimiser steps", ge=0, default=0)
    """Primal steps before the first dual step, since an untrained model violates all constraints."""


class DualAscentSpec(AscentSpec):
    """Dual ascent: a multiplier rises while its constraint is violated, and falls to zero where it is slack.

    Sources: Khalafi, Ding, Ribeiro (NeurIPS 2024), https://arxiv.org/abs/2408.15094; resilience: Hounie,
    Ribeiro, Chamon (NeurIPS 2023), https://arxiv.org/abs/2306.02426.
    """

    kind: Literal["ascent"] = "ascent"
    initial: float = key(ge=0, default=0.0)
    """Multipliers at the start; zero means no constraint."""
    resilience: float | None = key("unit of violation, squared", gt=0, default=None)
    """alpha in the cost alpha z^2 / 2 of relaxing a threshold by z; null for fixed thresholds."""
    largest: float = key(gt=0, default=100.0)
    """Multiplier at which a constraint without resilience counts as infeasible, which ends the training."""

    @model_validator(mode="after")
    def _starts_below_the_largest(self) -> DualAscentSpec:
        if self.initial >= self.largest:
            raise ValueError(f"`initial` ({self.initial}) must be less than `largest` ({self.largest})")
        return self

    def build(self, constraints: int) -> DualAscent:
        """Builds the multipliers of a number of constraints."""
        from plumbline.models.distributional._multipliers import DualAscent

        return DualAscent(constraints, **self.options())

    def options(self) -> AscentOptions:
        """The keyword arguments of the ascent."""
        return {
            "initial": self.initial,
            "resilience": self.resilience,
            "largest": self.largest,
            "learning_rate": self.learning_rate,
            "every": self.every,
            "start": self.start,
        }


class ProportionalIntegralSpec(DualAscentSpec):
    """Dual ascent with a term that follows changes of the violation, which damps oscillations (nu-PI).

    Source: Sohrabi et al. (ICML 2024), https://arxiv.org/abs/2406.04558.
    """

    kind: Literal["proportional_integral"] = "proportional_integral"  # type: ignore[assignment]
    proportional: float = key("multiplier per unit of violation", ge=0, default=0.01)
    """kappa: weight of changes of the averaged violation; zero is dual ascent."""
    smoothing: float = key(ge=0, lt=1, default=0.0)
    """nu: of the moving average of violations over dual steps; zero for none."""

    def build(self, constraints: int) -> ProportionalIntegral:
        from plumbline.models.distributional._multipliers import ProportionalIntegral

        return ProportionalIntegral(
            constraints, proportional=self.proportional, smoothing=self.smoothing, **self.options()
        )


class SimplexAscentSpec(AscentSpec):
    """Multipliers that sum to one and rise for the most violated constraints; the bound is minimised.

    Source: Khalafi, Hounie, Ding, Ribeiro (NeurIPS 2025), https://arxiv.org/abs/2508.19104.
    """

    kind: Literal["simplex_ascent"] = "simplex_ascent"

    def build(self, constraints: int) -> SimplexAscent:
        """Builds the multipliers of a number of constraints, equal at the start."""
        from plumbline.models.distributional._multipliers import SimplexAscent

        return SimplexAscent(
            constraints, learning_rate=self.learning_rate, every=self.every, start=self.start
        )


class EqualMultipliersSpec(Spec):
    """Constant and equal multipliers that sum to one."""

    kind: Literal["equal"] = "equal"

    def build(self, constraints: int) -> Multipliers:
        """Builds the multipliers of a number of constraints."""
        from plumbline.models.distributional._multipliers import Multipliers

        return Multipliers([1 / constraints] * constraints)


class FixedMultipliersSpec(Spec):
    """One constant multiplier for all constraints: the usual weighted sum of losses."""

    kind: Literal["fixed"] = "fixed"
    value: float = key(ge=0)
    """The multiplier."""

    def build(self, constraints: int) -> Multipliers:
        """Builds the multipliers of a number of constraints."""
        from plumbline.models.distributional._multipliers import Multipliers

        return Multipliers([self.value] * constraints)


AnyWeights = Annotated[SimplexAscentSpec | EqualMultipliersSpec, Field(discriminator="kind")]
AnyMultipliers = Annotated[
    DualAscentSpec | ProportionalIntegralSpec | FixedMultipliersSpec, Field(discriminator="kind")
]
