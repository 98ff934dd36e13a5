r"""Steady Darcy flow in the unit square, by finite differences.

    -div( a grad u ) = f,    u = 0 on the boundary,

with the permeability a and the pressure u on a grid of n x n points that includes the boundary. The flux
between neighbouring points is the difference of u over the spacing, times the harmonic mean of a at both
points. This conserves mass, is of second order for a smooth permeability, and is exact in one dimension for
layers that meet halfway between points (Patankar 1980, section 4.2-3).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import scipy.sparse


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


def _harmonic(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return 2 * a * b / (a + b)
