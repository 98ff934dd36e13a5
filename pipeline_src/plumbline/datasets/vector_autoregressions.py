r"""Simulated vector autoregressions, of which the best graph is known.

z_{t+1} = A z_t + e, e ~ N(0, I), in the stationary state: z ~ N(0, S) with S = A S A^T + I, and d steps later

    z_{t+d} = A^d z_t + e_d,    e_d ~ N(0, S - A^d S (A^d)^T).

Pairs are drawn from that law, each by itself. Three families of A: `symmetric`, with eigenvalues uniform in (-.95, .95), whose sign the
covariance of z_t cannot tell and that with z_{t+d} can; `sparse`, with a fifth of the entries and a ring through all nodes, not symmetric, scaled to the
spectral radius .9; and `persistent`, .7 I and a sparse symmetric graph, scaled to .95, whose two covariances are nearly the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from plumbline.datasets import DatasetSpec
from plumbline.spec import key

if TYPE_CHECKING:
    import xarray as xr


class VectorAutoregressionsSpec(DatasetSpec):
    """Pairs of states of vector autoregressions (node), each system with a matrix of its own."""

    kind: Literal["vector_autoregressions"] = "vector_autoregressions"
    family: Literal["symmetric", "sparse", "persistent"] = "symmetric"
    """Family of the matrices."""
    nodes: int = key(ge=2, default=20)
    """Numbers in a state."""
    ahead: int = key("steps", ge=1, default=1)
    """d, steps from the state that is known to the one that is asked for."""
    systems: int = key(ge=1, default=10)
    """Systems, each with a matrix of its own; every split is a multiple of it."""

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
        """A (n, n) of a system."""
        rng = np.random.default_rng([self.seed, system])
        n = self.nodes
        if self.family == "symmetric":
            basis, _ = np.linalg.qr(rng.standard_normal((n, n)))
            return basis * rng.uniform(-0.95, 0.95, n) @ basis.T
        kept = rng.random((n, n)) < 0.2
        # A ring through all nodes, without which a small graph may have no cycle, and no eigenvalue to scale by.
        kept |= np.roll(np.eye(n, dtype=bool), 1, axis=1)
        sparse = rng.standard_normal((n, n)) * kept
        if self.family == "sparse":
            return 0.9 * sparse / np.abs(np.linalg.eigvals(sparse)).max()
        graph = 0.7 * np.eye(n) + 0.1 * (sparse + sparse.T) / np.sqrt(0.2 * n)
        return 0.95 * graph / np.abs(np.linalg.eigvalsh(graph)).max()


def stationary_covariance(matrix: np.ndarray) -> np.ndarray:
    """S = A S A^T + I."""
    from scipy.linalg import solve_discrete_lyapunov

    return solve_discrete_lyapunov(matrix, np.eye(len(matrix)))
