r"""Darcy's equation as a constraint on permeabilities and pressures (B, 2, X, Y).

**Residual.** In each cell, with the finite volumes of `plumbline.solvers.darcy`,

    r = -div( K grad p ) - f + p_mean,

where nothing flows through the boundary. The first term adds up to zero over the cells, and so does f. The
mean of r is therefore p_mean, the mean pressure of the sample, and r = 0 holds if and only if the equation
and p_mean = 0 both hold. Without p_mean the equations would be dependent.

Harmonic means need K > 0, and generated permeabilities need not be positive. Below a smallest value e, the
equation has e^2 / (2 e - K) in place of K. This is positive, and smooth enough for derivatives at K = e.

**Projection.** For a given permeability, raised to e where it is below, one pressure satisfies the equation.
`project` keeps the permeability and returns that pressure. Conjugate gradients solve the system in double
precision. With the diagonal matrix K^{1/2}, the preconditioner is the inverse of K^{1/2} (-Laplace) K^{1/2},
which cosine transforms compute. The pair is feasible to rounding, but it is not the nearest feasible pair,
which also moves the permeability where this brings the pressures closer. For noisy pressures of data, the
nearest pair is at most 2% nearer; where a permeability is close to zero, it can be much nearer. A search for
it takes two such solves for each product with a second derivative, and is not offered.
"""

from __future__ import annotations

import logging
import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from plumbline.constraints import Constraint, smallest_number
from plumbline.linalg.iterative import conjugate_gradients

logger = logging.getLogger("plumbline.constraints")

# Relative residual at which the pressure counts as solved for, and the maximum number of iterations.
SOLVED, MOST_ITERATIONS = 1e-12, 2000
# Sum of the sources, relative to the sum of their absolute values, that counts as zero.
BALANCED = 1e-6


class DarcyResidual(Constraint):
    """-div(K grad p) = f without flux through the boundary, and with zero mean pressure.

    Args:
        source: f, the mean source of each cell.
        spacing: the sides of a cell along x and y.
        smallest: permeability below which a positive one takes its place in the equation.

    Raises:
        ValueError: the sources are all zero, or do not add up to zero.
    """

    unit = "1/time"
    tolerance = 1e-3
    smooth = True

    def __init__(
        self, source: Float[Tensor, "X Y"], *, spacing: tuple[float, float], smallest: float
    ) -> None:
        total, size = float(source.sum()), float(source.abs().sum())
        if not size > 0 or abs(total) > BALANCED * size:
            raise ValueError(
                "without flux through the boundary, the sources must add up to zero and not all be zero, "
                f"found the sum {total:.6g} of sources whose absolute values add up to {size:.6g}: correct "
                "`source`."
            )
        self.source = source - source.mean()
        self.spacing = spacing
        self.smallest = smallest

    def residual(self, x: Float[Tensor, "B 2 X Y"]) -> Float[Tensor, "B X Y"]:
        """What flows out of each cell, less its source, plus the mean pressure; per area."""
        pressure = x[:, 1]
        outflow = _outflow(self.between(self.positive(x[:, 0])), pressure)
        return outflow - self.source.to(x) + pressure.mean((1, 2), keepdim=True)

    def violation(self, x: Float[Tensor, "B 2 X Y"]) -> Float[Tensor, " B"]:
        """The largest absolute residual over the largest source.

        If that is larger: how far the permeability is below `smallest`, over the mean absolute permeability
        of the sample.
        """
        residual = self.residual(x).abs().amax((1, 2)) / self.source.abs().max().to(x)
        permeability = x[:, 0]
        size = permeability.abs().mean((1, 2)).clamp(min=smallest_number(x))
        return torch.maximum(residual, (self.smallest - permeability).amax((1, 2)).clamp(min=0) / size)

    def project(self, x: Float[Tensor, "B 2 X Y"]) -> Float[Tensor, "B 2 X Y"]:
        """The permeability, raised to `smallest` where it is below, and the pressure that belongs to it.

        A warning counts the samples whose pressure was not found to the tolerance.
        """
        permeability = x[:, 0].detach().clamp(min=self.smallest)
        pressure, solved = self.pressure(permeability.double())
        if not bool(solved.all()):
            logger.warning(
                "darcy_residual: %d of %d pressures were not found in %d iterations: their permeabilities "
                "differ by too many orders of magnitude.",
                int((~solved).sum()),
                len(solved),
                MOST_ITERATIONS,
            )
        return torch.stack([permeability, pressure.to(x.dtype)], dim=1)

    def pressure(self, permeability: Float[Tensor, "B X Y"]) -> tuple[Float[Tensor, "B X Y"], Tensor]:
        """The pressure with zero mean of each positive permeability, and whether it was found."""
        shape = permeability.shape[1:]
        between, root = self.between(permeability), permeability.sqrt()
        waves = [_cosines(n, permeability) for n in shape]
        x, y = (
            (2 - 2 * torch.cos(math.pi * torch.arange(n).to(permeability) / n)) / h**2
            for n, h in zip(shape, self.spacing, strict=True)
        )
        eigenvalues = x[:, None] + y
        eigenvalues[0, 0] = 1.0

        def apply(p: Tensor) -> Tensor:
            field = p.view(-1, *shape)
            return (_outflow(between, field) + field.mean((1, 2), keepdim=True)).flatten(1)

        def precondition(r: Tensor) -> Tensor:
            coefficients = waves[0] @ (r.view(-1, *shape) / root) @ waves[1].mT / eigenvalues
            return (waves[0].mT @ coefficients @ waves[1] / root).flatten(1)

        target = self.source.to(permeability).flatten().expand(len(permeability), -1)
        found, solved = conjugate_gradients(
            apply, target, tolerance=SOLVED, iterations=MOST_ITERATIONS, precondition=precondition
        )
        return (found - found.mean(1, keepdim=True)).view_as(permeability), solved

    def positive(self, permeability: Float[Tensor, "B X Y"]) -> Float[Tensor, "B X Y"]:
        """The permeability, with positive values in place of those below `smallest`."""
        low = permeability < self.smallest
        below = torch.where(low, permeability, self.smallest)
        return torch.where(low, self.smallest**2 / (2 * self.smallest - below), permeability)

    def between(
        self, permeability: Float[Tensor, "B X Y"]
    ) -> tuple[Float[Tensor, "B X1 Y"], Float[Tensor, "B X Y1"]]:
        """The harmonic means of neighbours along x and y, over the squared spacing."""
        (along_x, along_y), k = self.spacing, permeability
        return (
            _harmonic(k[:, :-1], k[:, 1:]) / along_x**2,
            _harmonic(k[:, :, :-1], k[:, :, 1:]) / along_y**2,
        )


def _outflow(
    between: tuple[Float[Tensor, "B X1 Y"], Float[Tensor, "B X Y1"]], pressure: Float[Tensor, "B X Y"]
) -> Float[Tensor, "B X Y"]:
    """What flows out of each cell, per area."""
    along_x = pad(between[0] * pressure.diff(dim=1), (0, 0, 1, 1))
    along_y = pad(between[1] * pressure.diff(dim=2), (1, 1))
    return -(along_x.diff(dim=1) + along_y.diff(dim=2))


def _harmonic(a: Tensor, b: Tensor) -> Tensor:
    return 2 * a * b / (a + b)


def _cosines(points: int, like: Tensor) -> Float[Tensor, "n n"]:
    """The orthonormal cosine transform at cell centres (DCT-II), by wavenumber and point."""
    cells = torch.arange(points).to(like)
    waves = torch.cos(math.pi * cells[:, None] * (cells + 0.5) / points) * math.sqrt(2 / points)
    waves[0] /= math.sqrt(2)
    return waves
