r"""Least-squares regression with an intercept on data that arrives in blocks, in double precision.

With the mean and the products S of the deviations from it of n joint vectors v = (x, y), merged block by
block (`plumbline.linalg.running`),
the solution of least norm of  y ~ D b,  D = (1, x),  is  b = (D^T D)^+ D^T y, and the products of the
residuals r = y - D b are  T S T^T + n r_mean r_mean^T  with  T = (-W, 1),  where W are the weights of x in b.
The pseudo-inverse allows inputs that depend on each other, or that are the same for all samples.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from plumbline.linalg.running import RunningProducts
from plumbline.models._moments import BLOCK

SMALLEST_FRACTION = 1e-12
"""Eigenvalues of D^T D below this fraction of the largest count as zero, and singular values of D below its
root."""


class RunningRegression:
    """The regression of outputs y (N, m) on inputs x (N, k) and a constant."""

    def __init__(self) -> None:
        self.inputs = 0
        self.joint = RunningProducts()

    @property
    def count(self) -> int:
        """The number of samples."""
        return self.joint.count

    def add(self, x: Float[Tensor, "N k"], y: Float[Tensor, "N m"]) -> None:
        """Adds further samples."""
        self.inputs = x.shape[1]
        rows = max(1, BLOCK // (x.shape[1] + y.shape[1]))
        for inputs, outputs in zip(x.split(rows), y.split(rows), strict=True):
            self.joint.add(torch.cat([inputs.double(), outputs.double()], dim=1))

    def solution(self) -> tuple[Float[Tensor, "k1 m"], Float[Tensor, "m m"]]:
        """The intercept in the first row and the weights (k + 1, m), and the residuals' products r^T r."""
        k, count, mean, products = self.inputs, self.joint.count, self.joint.mean, self.joint.products
        total, between = count * mean, count * torch.outer(mean, mean)
        raw = products + between
        design = torch.cat(
            [
                torch.cat([total.new_full((1,), count), total[:k]])[None],
                torch.cat([total[:k, None], raw[:k, :k]], dim=1),
            ]
        )
        inverse = torch.linalg.pinv(design, rtol=SMALLEST_FRACTION, hermitian=True)
        found = inverse @ torch.cat([total[None, k:], raw[:k, k:]])
        weights = found[1:]
        left = mean[k:] - found[0] - mean[:k] @ weights
        changed = torch.cat([-weights, torch.eye(len(left), dtype=weights.dtype)])
        squares = changed.T @ products @ changed
        return found, (squares + squares.T) / 2 + count * torch.outer(left, left)
