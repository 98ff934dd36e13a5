"""Several constraints at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, field_validator

from plumbline._capabilities import is_provided
from plumbline.constraints import (
    AnyConstraint,
    ConstraintSpec,
    GaussianConditioning,
    LinearEqualityConstraint,
    ProjectableConstraint,
)

if TYPE_CHECKING:
    import xarray as xr

    from plumbline.constraints import Constraint


class JointlySpec(ConstraintSpec):
    """Several constraints that must hold together; samples are projected onto their intersection."""

    kind: Literal["jointly"] = "jointly"
    constraints: tuple[AnyConstraint, ...] = Field(min_length=2)
    """The constraints, each with its `kind` and keys. They have a joint projection if all are linear
    equalities, all have convex feasible sets, or all are smooth equations.
    """

    @field_validator("constraints")
    @classmethod
    def _not_within_itself(cls, constraints: tuple[ConstraintSpec, ...]) -> tuple[ConstraintSpec, ...]:
        if any(isinstance(spec, JointlySpec) for spec in constraints):
            raise ValueError("`jointly` cannot contain `jointly`: list the constraints of the inner one here")
        return constraints

    def build(self, example: xr.Dataset) -> Constraint:
        from plumbline.constraints._jointly import Jointly, StackedEquality
        from plumbline.constraints._linear_equality import LinearEquality

        parts = [spec.build(example) for spec in self.constraints]
        linear = [part for part in parts if isinstance(part, LinearEquality)]
        return StackedEquality(linear) if len(linear) == len(parts) else Jointly(parts)

    def depends_on(self) -> dict[str, type]:
        found: dict[str, type] = {}
        for spec in self.constraints:
            found |= spec.depends_on()
        return found

    def provides(self) -> tuple[type, ...]:
        if all(is_provided(LinearEqualityConstraint, spec.provides()) for spec in self.constraints):
            return (LinearEqualityConstraint,)
        convex = all(spec.convex for spec in self.constraints)
        projectable = convex or all(spec.smooth for spec in self.constraints)
        conditioned = all(is_provided(GaussianConditioning, spec.provides()) for spec in self.constraints)
        return (ProjectableConstraint,) * projectable + (GaussianConditioning,) * conditioned
