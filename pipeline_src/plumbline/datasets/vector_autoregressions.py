r"""Simulated vector autoregressions, for which the best graph is known.

The process is z_{t+1} = A z_t + e with e ~ N(0, I). Its stationary distribution is N(0, S), where S solves
S = A S A^T + I. After d steps

    z_{t+d} = A^d z_t + e_d,    e_d ~ N(0, S - A^d S (A^d)^T).

Each pair (z_t, z_{t+d}) is drawn independently from this distribution. There are three families of A:

- `symmetric`: eigenvalues uniform in (-.95, .95). The covariance of z_t does not depend on their signs; the
  cross-covariance of z_t and z_{t+d} does, if d is odd.
- `sparse`: a fifth of the entries and a ring through all nodes, not symmetric, with the spectral radius .9.
- `persistent`: .7 I plus a sparse symmetric graph, scaled to the spectral radius .95. The covariance of z_t
  and the cross-covariance are nearly the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from plumbline.datasets import DatasetSpec
from plumbline.spec import key

if TYPE_CHECKING:
    import xarray as xr


class VectorAutoregressionsSpec(DatasetSpec):
    """Pairs of states (node) of vector autoregressions; each system has its own matrix."""

    kind: Literal["vector_autoregressions"] = "vector_autoregressions"
    family: Literal["symmetric", "sparse", "persistent"] = "symmetric"
    """Family of the matrices A."""
    nodes: int = key(ge=2, default=20)
    """Dimension of a state."""
    ahead: int = key("steps", ge=1, default=1)
    """Steps d from the known state to the predicted one."""
    systems: int = key(ge=1, default=10)
    """Number of systems, each with its own matrix; every split must be a multiple of it."""

    def draw(self, indices: np.ndarray, splits: np.ndarray) -> xr.Dataset:
        from plumbline.datasets._random import normals
        from plumbline.datasets._series import as_pairs, places

        system, _ = places(self.splits, self.systems, indices)
        noise = normals(self.seed, indices, 2 * self.nodes)
        before, after = np.empty((2, len(indices), self.nodes))
        for r in np.unique(system):
            own, matrix = system == r, self.matrix(int(r))
            power = np.linalg.matrix_power(matrix, self.ahead)
            covariance = stationary_covariance(matrix)
            left = covariance - power @ covariance @ power.T
            start = noise[own, : self.nodes] @ np.linalg.cholesky(covariance).T
            before[own] = start
            after[own] = start @ power.T + noise[own, self.nodes :] @ np.linalg.cholesky(left).T
        names = [f"node {i}" for i in range(self.nodes)]
        title = f"vector autoregressions, {self.family}, {self.ahead} ahead"
        return as_pairs(before, after, system, nodes=names, units="1", title=title)

    def matrix(self, system: int) -> np.ndarray:
        """The matrix A (n, n) of a system."""
        rng = np.random.default_rng([self.seed, system])
        n = self.nodes
        if self.family == "symmetric":
            basis, _ = np.linalg.qr(rng.standard_normal((n, n)))
            return basis * rng.uniform(-0.95, 0.95, n) @ basis.T
        kept = rng.random((n, n)) < 0.2
        # Without the ring a small graph may have no cycle, so that all its eigenvalues are zero.
        kept |= np.roll(np.eye(n, dtype=bool), 1, axis=1)
        sparse = rng.standard_normal((n, n)) * kept
        if self.family == "sparse":
            return 0.9 * sparse / np.abs(np.linalg.eigvals(sparse)).max()
        graph = 0.7 * np.eye(n) + 0.1 * (sparse + sparse.T) / np.sqrt(0.2 * n)
        return 0.95 * graph / np.abs(np.linalg.eigvalsh(graph)).max()


def stationary_covariance(matrix: np.ndarray) -> np.ndarray:
    """The solution S (n, n) of S = A S A^T + I, for a matrix A (n, n)."""
    from scipy.linalg import solve_discrete_lyapunov

    return solve_discrete_lyapunov(matrix, np.eye(len(matrix)))
