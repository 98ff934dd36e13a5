r"""Projection in the metric of a covariance: the feasible z' that minimises (z' - z)^T C^{-1} (z' - z).

With z = C^{1/2} y, this is the Euclidean projection of y onto the constraint as a function of y. For a linear
equality it is z - C A^T (A C A^T)^{-1} (A z - k), the mean of N(z, C) given the equality: directions in which
the data varies much give way before directions in which it hardly varies.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from plumbline.constraints import Constraint, GaussianConditioning, ProjectableConstraint
from plumbline.constraints._conditioner import (
    CoordinateConditioner,
    IntervalConditioner,
    LinearConditioner,
)
from plumbline.constraints._jointly import Jointly
from plumbline.constraints._linear_equality import LinearEquality
from plumbline.constraints._nearest import nearest_points
from plumbline.constraints._polytope import Polytope
from plumbline.linalg.spectral import SpectralCovariance

# Number of iterations of a projection onto equations.
ITERATIONS = 100


def project_in_metric(
    constraint: Constraint,
    z: Float[Tensor, "B n"],
    covariance: SpectralCovariance,
    *,
    shift: Float[Tensor, "*S"],
    scale: Float[Tensor, "*S"],
) -> Float[Tensor, "B n"]:
    """The feasible points nearest to z in the metric C^{-1}, in double precision.

    Args:
        constraint: a constraint on x = shift + scale z that a Gaussian can be conditioned on.
        z: flattened points.
        covariance: C.
        shift: the shift of each coordinate.
        scale: the size of one unit of z.

    Raises:
        TypeError: a Gaussian cannot be conditioned on the constraint.
    """
    assert isinstance(constraint, GaussianConditioning)
    z = z.double()
    root = covariance.root()
    conditioner = constraint.conditioner(shift, scale)
    if isinstance(conditioner, LinearConditioner):
        return conditioner(z, covariance).mean
    if isinstance(conditioner, CoordinateConditioner):
        conditioner = conditioner.intervals()
    if isinstance(conditioner, IntervalConditioner) and not _is_curved(conditioner):
        sets = _sets(conditioner, root)
        return root.matmul(sets.project(root.inverse(z)))
    if not constraint.smooth:
        raise TypeError(
            f"there is no projection in the metric of the data onto {type(constraint).__name__} with curved "
            "equations and inequalities: set `metric: euclidean`."
        )

    def residual(y: Tensor, which: Tensor) -> Tensor:
        x = shift.to(y) + scale.to(y) * root.matmul(y).view(len(y), *shift.shape)
        return constraint.select(which).residual(x).flatten(1)

    rows = constraint.residual(shift + scale * z.view(len(z), *shift.shape)).flatten(1).shape[1]
    report = nearest_points(residual, root.inverse(z), rows=rows, iterations=ITERATIONS)
    report.warn("projection in the metric of the data")
    return root.matmul(report.points)


def _is_curved(conditioner: IntervalConditioner) -> bool:
    return conditioner.first is not None and not isinstance(conditioner.first, LinearConditioner)


def _sets(conditioner: IntervalConditioner, root: SpectralCovariance) -> ProjectableConstraint:
    """The inequalities, and the equality before them, as constraints on y."""
    rows = root.matmul(conditioner.rows)
    both = torch.cat([rows, -rows])
    upper, lower = torch.broadcast_tensors(conditioner.upper, conditioner.lower)
    polytope = Polytope(both, torch.cat([upper, -lower], dim=-1))
    if not isinstance(conditioner.first, LinearConditioner):
        return polytope
    equality = conditioner.first.equality
    identity = torch.eye(root.dimension).to(rows)
    matrix = equality.independent.to(rows).apply(identity).mT
    target = -equality.independent_residual(identity[:1] * 0)
    moved = LinearEquality(root.matmul(matrix), target[0] if len(target) == 1 else target)
    return Jointly([polytope, moved])
