r"""The neural tangent kernel, which predicts the course of training by gradient descent.

With the Jacobian J of all outputs with respect to the weights, the kernel is Theta = J J^T. For the initial
residual r = y - f,

    alignment   A = y^T Theta y = |J^T y|^2,
    descent     |r_t|^2 = sum_i (1 - eta mu_i)^{2 t} c_i^2 + |r_perp|^2,
                J^T J v_i = mu_i v_i,    c_i = v_i^T J^T r / sqrt(mu_i),

where r_perp is the part of r that no weight can change. This is exact for networks that are linear in their
weights, and holds for others in the limit of many filters. Alignments are divided by mu_1 |y|^2, without
which the graph with the largest kernel would always score best; the result is at most one, when y is the
first eigenvector. For one filter, A = sum_k tr(S^k C_XY)^2.

Sources: Jacot, Gabriel, Hongler (2018), https://arxiv.org/abs/1806.07572; Khalafi, Sihag, Ribeiro (ICML
2024), section 3, https://arxiv.org/abs/2310.10791.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

# Eigenvalues below this fraction of the largest count as zero.
SMALLEST_FRACTION = 1e-9
# Number of Jacobian columns that are computed together.
DIRECTIONS = 16


@dataclass(frozen=True)
class TangentKernel:
    """Properties of a tangent kernel (Jacot et al. 2018, https://arxiv.org/abs/1806.07572).

    Attributes:
        alignment: A / (mu_1 |y|^2).
        spectrum: mu_i / mu_1 in descending order, one per weight.
        descent: |r_t|^2 / |y|^2 after t = 0, 1, ... steps of gradient descent with eta = 1 / mu_1.
    """

    alignment: Float[Tensor, ""]
    spectrum: Float[Tensor, " P"]
    descent: Float[Tensor, " T"]


def jacobian(
    outputs: Callable[[Mapping[str, Tensor]], Tensor], weights: Mapping[str, Tensor]
) -> Float[Tensor, "N P"]:
    """The derivative of all outputs, flattened, with respect to all weights, in their order.

    It is computed in forward mode, with one pass per weight.
    """
    shapes = {name: weight.shape for name, weight in weights.items()}
    vector = torch.cat([weight.flatten() for weight in weights.values()])

    def of_vector(v: Tensor) -> Tensor:
        parts = v.split([shape.numel() for shape in shapes.values()])
        return outputs(
            {name: part.view(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}
        ).flatten()

    along = lambda direction: torch.func.jvp(of_vector, (vector,), (direction,))[1]  # noqa: E731
    return torch.func.vmap(along, chunk_size=DIRECTIONS)(torch.eye(len(vector), dtype=vector.dtype)).T


def tangent_kernel(
    derivative: Float[Tensor, "N P"], residual: Float[Tensor, " N"], target: Float[Tensor, " N"], steps: int
) -> TangentKernel:
    """The properties of the kernel J J^T.

    Args:
        derivative: J.
        residual: y - f before training.
        target: y.
        steps: steps of gradient descent.
    """
    j = derivative.double()
    r, y = residual.double(), target.double()
    values, vectors = torch.linalg.eigh(j.T @ j)
    values, vectors = values.flip(0).clamp(min=0), vectors.flip(1)
    largest = values[0].clamp(min=torch.finfo(torch.float64).tiny)
    active = values > SMALLEST_FRACTION * largest
    along = (vectors[:, active].T @ (j.T @ r)).square() / values[active]
    times = torch.arange(steps + 1, dtype=torch.float64)
    left = (1 - values[active] / largest)[:, None] ** (2 * times)
    descent = r.square().sum() - (along[:, None] * (1 - left)).sum(0)
    size = y.square().sum()
    return TangentKernel((j.T @ y).square().sum() / (largest * size), values / largest, descent / size)
