r"""Steady Darcy flow in the unit square: -div(a grad u) = f, for the permeability a and the pressure u.

The flux between neighbouring points is the difference of u over the spacing, times the harmonic mean of a at
both points. This conserves mass, is of second order for a smooth permeability, and is exact in one dimension
for layers that meet halfway between points (Patankar 1980, section 4.2-3).

- `solve`: u = 0 on the boundary, by finite differences, on a grid of n x n points that includes the boundary.
- `solve_without_flux`: no flux through the boundary and zero mean pressure, by finite volumes, with values at
  the centres of n x n square cells. What enters must leave: the integral of f must be zero.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import scipy.sparse

BALANCED = 1e-12
"""Sum of the sources, relative to the sum of their absolute values, that counts as zero."""


def solve(permeability: np.ndarray, source: np.ndarray | float) -> np.ndarray:
    """The pressure for each permeability.

    Args:
        permeability: a (samples, n, n) > 0, at the points i / (n - 1) along each axis.
        source: f, a number or its values (n, n) at the points.

    Returns:
        u (samples, n, n), zero on the boundary.
    """
    import scipy.sparse.linalg

    samples, n, _ = permeability.shape
    force = np.broadcast_to(np.asarray(source, dtype=np.float64), (n, n))[1:-1, 1:-1].ravel()
    pressure = np.zeros((samples, n, n))
    for a, u in zip(permeability.astype(np.float64), pressure, strict=True):
        solution = scipy.sparse.linalg.spsolve(matrix(a), force)
        u[1:-1, 1:-1] = solution.reshape(n - 2, n - 2)
    return pressure


def matrix(permeability: np.ndarray) -> scipy.sparse.csc_array:
    """The matrix of -div(a grad u) for u at the inner points ((n - 2)^2), with a (n, n) > 0."""
    import scipy.sparse

    a, m = permeability, permeability.shape[0] - 2
    along_x = (m + 1) ** 2 * _harmonic(a[:-1, 1:-1], a[1:, 1:-1])
    along_y = (m + 1) ** 2 * _harmonic(a[1:-1, :-1], a[1:-1, 1:])
    centre = along_x[:-1] + along_x[1:] + along_y[:, :-1] + along_y[:, 1:]
    # The last point of a row is no neighbour of the first of the next.
    right = along_y[:, 1:].copy()
    right[:, -1] = 0.0
    beside, below = -right.ravel()[:-1], -along_x[1:-1].ravel()
    diagonals = [centre.ravel(), beside, beside, below, below]
    return scipy.sparse.csc_array(scipy.sparse.diags_array(diagonals, offsets=[0, 1, -1, m, -m]))


def solve_without_flux(permeability: np.ndarray, source: np.ndarray) -> np.ndarray:
    """The pressure with zero mean for each permeability, where nothing flows through the boundary.

    Args:
        permeability: a (samples, n, n) > 0, at the centres of cells of the side 1 / n.
        source: the mean of f over each cell (n, n).

    Returns:
        u (samples, n, n), in double precision.

    Raises:
        ValueError: the sources do not add up to zero, so that there is no solution; or a permeability is not
            positive.
    """
    import scipy.sparse.linalg

    n = permeability.shape[-1]
    force = np.asarray(source, dtype=np.float64).ravel()
    if abs(force.sum()) > BALANCED * np.abs(force).sum():
        raise ValueError(
            f"without flux through the boundary, the sources must add up to zero, found {force.sum():.6g}: "
            "subtract their mean, or add a sink."
        )
    if not (permeability > 0).all():
        raise ValueError(f"permeabilities must be positive, found {np.min(permeability):.6g}.")
    pressure = np.empty((len(permeability), n, n))
    for a, u in zip(permeability.astype(np.float64), pressure, strict=True):
        free = matrix_without_flux(a)
        # A constant may be added to the pressure. This one is zero in the first cell: all sources add up to
        # zero, so the additional outflow there, which is proportional to the pressure, is zero.
        held = free + scipy.sparse.diags_array(np.eye(1, n * n).ravel() * free[0, 0])
        factors = scipy.sparse.linalg.splu(
            held.tocsc(), permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True}
        )
        solution = factors.solve(force)
        solution += factors.solve(force - free @ solution)
        u[...] = (solution - solution.mean()).reshape(n, n)
    return pressure


def matrix_without_flux(permeability: np.ndarray) -> scipy.sparse.csr_array:
    """The matrix of -div(a grad u) for the values of u in cells (n^2), with a (n, n) > 0.

    It is symmetric and positive semidefinite, and its rows add up to zero.
    """
    import scipy.sparse

    a, n = permeability, permeability.shape[0]
    cell = np.arange(n * n).reshape(n, n)
    first = np.concatenate([cell[:-1].ravel(), cell[:, :-1].ravel()])
    second = np.concatenate([cell[1:].ravel(), cell[:, 1:].ravel()])
    between = n**2 * np.concatenate(
        [_harmonic(a[:-1], a[1:]).ravel(), _harmonic(a[:, :-1], a[:, 1:]).ravel()]
    )
    rows = np.concatenate([first, second, first, second])
    columns = np.concatenate([first, second, second, first])
    values = np.concatenate([between, between, -between, -between])
    return scipy.sparse.csr_array((values, (rows, columns)), shape=(n * n, n * n))


def _harmonic(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return 2 * a * b / (a + b)
