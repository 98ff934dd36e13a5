"""Mirror maps of convex sets in closed form."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from plumbline.models import BuildContext, FittedModelSpec, MirrorMap
from plumbline.spec import Spec, key

if TYPE_CHECKING:
    from plumbline.models.mirror._analytic_mirror import AnalyticMirror, Ball, Box, Polytope, Simplex


class SimplexSpec(Spec):
    """Positive states with a fixed sum: the potential is the entropy, and the map the logarithm."""

    kind: Literal["simplex"] = "simplex"
    total: float = key("data's units", gt=0, default=1.0)
    """Sum of a state."""
    smallest: float = key("of the mean value", gt=0, lt=1, default=1e-4)
    """Lower bound of the values in the logarithm."""

    def build(self, dimension: int) -> Simplex:
        """Builds the set of states with this number of entries."""
        from plumbline.models.mirror._analytic_mirror import Simplex

        return Simplex(total=self.total, dimension=dimension, smallest=self.smallest)


class BallSpec(Spec):
    """States inside a ball around the origin: the potential is the logarithmic barrier."""

    kind: Literal["ball"] = "ball"
    radius: float = key("data's units", gt=0, default=1.0)
    """Radius of the ball."""
    barrier: float = key(gt=0, default=0.5)
    """beta in phi(x) = -beta log(R^2 - |x|^2)."""

    def build(self, dimension: int) -> Ball:
        """Builds the set of states with this number of entries."""
        from plumbline.models.mirror._analytic_mirror import Ball

        return Ball(radius=self.radius, barrier=self.barrier)


class BoxSpec(Spec):
    """States between two bounds per coordinate: the inverse map is the hyperbolic tangent."""

    kind: Literal["box"] = "box"
    low: float = key("data's units", default=0.0)
    """Lower bound."""
    high: float = key("data's units", default=1.0)
    """Upper bound."""
    margin: float = key("of the width", gt=0, lt=0.5, default=1e-4)
    """Values closer to a bound than this are moved inwards before the map."""

    @model_validator(mode="after")
    def _ordered(self) -> BoxSpec:
        if self.low >= self.high:
            raise ValueError(f"`low` must be less than `high`, found {self.low}, {self.high}")
        return self

    def build(self, dimension: int) -> Box:
        """Builds the set of states with this number of entries."""
        from plumbline.models.mirror._analytic_mirror import Box

        return Box(low=self.low, high=self.high, margin=self.margin)


class PolytopeSpec(Spec):
    """States between pairs of parallel faces: the inverse map is the hyperbolic tangent across each pair."""

    kind: Literal["polytope"] = "polytope"
    faces: tuple[tuple[float, ...], ...] = Field(min_length=1)
    """Normals a_i of the pairs of faces, linearly independent, each with as many entries as a state."""
    low: tuple[float, ...]
    """Lower bounds of a_i x, one per pair."""
    high: tuple[float, ...]
    """Upper bounds of a_i x, one per pair."""
    margin: float = key("of the width", gt=0, lt=0.5, default=1e-4)
    """States closer to a face than this are moved inwards before the map."""

    @model_validator(mode="after")
    def _slabs(self) -> PolytopeSpec:
        lengths = sorted({len(face) for face in self.faces})
        if len(lengths) > 1:
            raise ValueError(f"`faces` must be of one length, that of a state; found {lengths}")
        for name, bounds in (("low", self.low), ("high", self.high)):
            if len(bounds) != len(self.faces):
                raise ValueError(
                    f"`{name}` needs a bound for each of the {len(self.faces)} `faces`, found {len(bounds)}"
                )
        for number, (low, high) in enumerate(zip(self.low, self.high, strict=True)):
            if low >= high:
                raise ValueError(f"`low` must be less than `high`, found {low}, {high} for face {number}")
        if (rank := np.linalg.matrix_rank(np.array(self.faces))) < len(self.faces):
            raise ValueError(f"`faces` must be linearly independent; of {len(self.faces)} only {rank} are")
        return self

    def build(self, dimension: int) -> Polytope:
        """Builds the set of states with this number of entries."""
        from plumbline.models.mirror._analytic_mirror import Polytope

        return Polytope(
            faces=self.faces, low=self.low, high=self.high, dimension=dimension, margin=self.margin
        )


class AnalyticMirrorSpec(FittedModelSpec):
    """The gradient of a convex potential and its exact inverse, as a `space` for diffusion models.

    Source: Liu, Chen, Theodorou, Tao (NeurIPS 2023), section 3, https://arxiv.org/abs/2310.01236.
    """

    kind: Literal["analytic_mirror"] = "analytic_mirror"
    set: Annotated[SimplexSpec | BallSpec | BoxSpec | PolytopeSpec, Field(discriminator="kind")]
    """The convex set of feasible states."""

    def build(self, on: BuildContext) -> AnalyticMirror:
        from plumbline.models._spaces import sample_shape
        from plumbline.models.mirror._analytic_mirror import AnalyticMirror

        shape = sample_shape(on.example).shape
        return AnalyticMirror(self.set.build(math.prod(shape)), shape)

    def provides(self) -> tuple[type, ...]:
        return (MirrorMap,)
