r"""The linearisation of any smooth constraint, and one Gauss-Newton step towards it.

The step of h(x) = 0 is x - J^T (J J^T)^{-1} h(x), the nearest point of the linearised equations. For linear
h it is the nearest feasible point.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from plumbline.constraints import Constraint
from plumbline.constraints._equations import Equations
from plumbline.constraints._linearisation import (
    DenseLinearisation,
    Linearisation,
    MatrixFreeLinearisation,
)
from plumbline.constraints._nearest import TOGETHER, is_large


def linearised(constraint: Constraint, x: Float[Tensor, "B *S"]) -> Linearisation:
    """The residual of a smooth constraint and its Jacobian at the flattened samples, in double precision."""
    if isinstance(constraint, Equations):
        return constraint.jacobian_products(x)

    def function(z: Tensor) -> Tensor:
        return constraint.residual(z.view(len(z), *x.shape[1:])).flatten(1)

    points = x.detach().flatten(1).double()
    with torch.no_grad():
        rows = function(points).shape[1]
    kind = MatrixFreeLinearisation if is_large(rows, points.shape[1]) else DenseLinearisation
    return kind(function, points)


def newton_step(constraint: Constraint, x: Float[Tensor, "B *S"]) -> Float[Tensor, "B *S"]:
    """The samples after one Gauss-Newton step towards a smooth constraint, in the dtype of x."""
    if not len(x):
        return x
    rows = constraint.residual(x).flatten(1).shape[1]
    coordinates = x[0].numel()
    numbers = coordinates if is_large(rows, coordinates) else rows * coordinates
    moved = []
    # Samplers run without gradients or in inference mode, where tensors have no derivatives.
    with torch.inference_mode(False):
        for part in torch.arange(len(x), device=x.device).split(max(1, TOGETHER // max(1, numbers))):
            chosen = x[part].clone()
            found = linearised(constraint.select(part), chosen)
            step = found.adjoint(found.solve(found.residual))
            moved.append(chosen - step.view_as(chosen).to(x.dtype))
    return torch.cat(moved)
