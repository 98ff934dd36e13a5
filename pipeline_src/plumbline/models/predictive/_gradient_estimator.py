r"""Bias, variance and error of single-sample gradients of expected losses, for each of several problems.

For gradients g_1 ... g_S of a problem with the exact gradient g*, and their mean g, separately for the
parameters of the mean, of the variance, and for both together:

    bias = 1 - cos(g, g*),    error = mean_s [1 - cos(g_s, g*)],    variance = Var_s cos(g_s, g),

and the relative error of size |g - g*| / |g*|. A gradient of zero has no direction; its cosine is reported as
zero.

Sources: Li et al. (2025), Figure 3, https://arxiv.org/abs/2502.05416; after SIMPLE (Ahmed et al. 2023),
https://arxiv.org/abs/2210.01941.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from plumbline.constraints._linear_equality import LinearEquality
from plumbline.distributions.constrained_gaussian import ConstrainedGaussian
from plumbline.distributions.estimators import EstimatorSpec
from plumbline.distributions.losses import AbsoluteLoss, SquaredLoss
from plumbline.linalg.covariance import Diagonal
from plumbline.models._preparing import PreparedInBlocks

LOSSES = (AbsoluteLoss, SquaredLoss)
# Number of entries in a chunk of gradients, which bounds the memory per problem.
CHUNK = 500_000


class GradientEstimator(PreparedInBlocks, nn.Module):
    """Single-sample gradients with respect to mean and variance, by an estimator.

    Source: Li et al. (2025), Figure 3, https://arxiv.org/abs/2502.05416.

    Args:
        estimator: the estimator.
        draws: number of gradients per problem.
    """

    def __init__(self, estimator: EstimatorSpec, *, draws: int = 10_000) -> None:
        super().__init__()
        self.estimator, self.draws = estimator, draws

    def predict(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Mean gradient, and bias, error, variance and size error by parameters, of each problem."""
        # Problems differ in size: they are evaluated one by one, each with thousands of gradients at once.
        results = [
            self._evaluated({name: values[i] for name, values in batch.items()})
            for i in range(len(batch["state"]))
        ]
        return {name: torch.stack([result[name] for result in results]) for name in results[0]}

    def _evaluated(self, problem: dict[str, Tensor]) -> dict[str, Tensor]:
        n, rows = int(problem["dimension"]), int(problem["equalities"])
        exact = problem["state"][:, :n].double()
        gradients = self.gradients(problem, n, rows)
        found = {"state": torch.zeros_like(problem["state"])}
        found["state"][:, :n] = gradients.mean(0)
        for name, chosen in (("mean", [0]), ("variance", [1]), ("both", [0, 1])):
            each, truth = gradients[:, chosen].flatten(1), exact[chosen].flatten()
            mean = each.mean(0)
            found[f"bias_{name}"] = 1 - _cosine(mean, truth)
            found[f"error_{name}"] = (1 - _cosine(each, truth)).mean()
            found[f"variance_{name}"] = _cosine(each, mean).var()
            found[f"size_{name}"] = (mean - truth).norm() / truth.norm()
        return found

    @torch.enable_grad()
    def gradients(self, problem: dict[str, Tensor], n: int, rows: int) -> Float[Tensor, "S 2 n"]:
        """Single-sample gradients with respect to mean and variance, in double precision."""
        mean, variance, target = (problem[name][:n].double() for name in ("mean", "variance", "target"))
        matrix = problem["matrix"][:rows, :n].double()
        constraint = LinearEquality(matrix, matrix @ target)
        loss = LOSSES[int(problem["loss"])](target)
        found, size = [], max(1, CHUNK // (n * rows))
        for first in range(0, self.draws, size):
            count = min(size, self.draws - first)
            parameters = [p.expand(count, n).clone().requires_grad_() for p in (mean, variance)]
            gaussian = ConstrainedGaussian(
                parameters[0], Diagonal(parameters[1]), constraint, validate_args=False
            )
            surrogate = self.estimator.surrogate(gaussian, loss)
            found.append(torch.stack(torch.autograd.grad(surrogate.sum(), parameters), 1))
        return torch.cat(found)


def _cosine(a: Float[Tensor, "*S d"], b: Float[Tensor, " d"]) -> Float[Tensor, "*S"]:
    return (a @ b) / (a.norm(dim=-1) * b.norm()).clamp(min=1e-300)
