r"""Expected absolute errors of binomial and Poisson counts, in closed form.

For a count z with the distribution function F and the probabilities f, a real number b and m = floor(b)
(Li, Sahu, Van den Broeck, Zeng 2025, https://arxiv.org/abs/2502.05416, Proposition 7.1),

    Binomial(k, p):     E|z - b| = k p - b + 2 [b F(m; k, p) - k p F(m - 1; k - 1, p)]
                        d/dp E|z - b| = k [1 - 2 F(m - 1; k - 1, p) - 2 (b - m) f(m; k - 1, p)]
    Poisson(lambda):    E|z - b| = lambda - b + 2 [b F(m) - lambda F(m - 1)]
                        d/dlambda E|z - b| = 1 - 2 F(m - 1) - 2 (b - m) f(m),

of which the second is the limit of the first for k p = lambda and k -> infinity. In both, d/db E|z - b| is
2 F(m) - 1. torch has no distribution functions of counts, so that SciPy's are used, on the CPU.
"""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from scipy import special
from torch import Tensor
from torch.autograd.function import BackwardCFunction


class BinomialAbsoluteError(torch.autograd.Function):
    """E|z - b| for z ~ Binomial(k, p); differentiable once, in p and b."""

    @staticmethod
    def forward(ctx: BackwardCFunction, p: Tensor, k: Tensor, b: Tensor) -> Tensor:
        ctx.save_for_backward(p, k, b)
        p64, k64, b64, m = _as_arrays(p, k, b)
        cdf = _binomial_cdf
        value = k64 * p64 - b64 + 2 * (b64 * cdf(m, k64, p64) - k64 * p64 * cdf(m - 1, k64 - 1, p64))
        return torch.as_tensor(value).to(p)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: BackwardCFunction, gradient: Tensor) -> tuple[Tensor, None, Tensor]:  # type: ignore[override]
        # torch's type stub declares a single tensor.
        p, k, b = cast("tuple[Tensor, Tensor, Tensor]", ctx.saved_tensors)
        p64, k64, b64, m = _as_arrays(p, k, b)
        below = _binomial_cdf(m - 1, k64 - 1, p64)
        by_p = k64 * (1 - 2 * below - 2 * (b64 - m) * (_binomial_cdf(m, k64 - 1, p64) - below))
        by_b = 2 * _binomial_cdf(m, k64, p64) - 1
        return gradient * torch.as_tensor(by_p).to(p), None, gradient * torch.as_tensor(by_b).to(p)


class PoissonAbsoluteError(torch.autograd.Function):
    """E|z - b| for z ~ Poisson(lambda); differentiable once, in lambda and b."""

    @staticmethod
    def forward(ctx: BackwardCFunction, rate: Tensor, b: Tensor) -> Tensor:
        ctx.save_for_backward(rate, b)
        rate64, b64, m = _as_arrays(rate, b)
        cdf = _poisson_cdf
        value = rate64 - b64 + 2 * (b64 * cdf(m, rate64) - rate64 * cdf(m - 1, rate64))
        return torch.as_tensor(value).to(rate)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: BackwardCFunction, gradient: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        # torch's type stub declares a single tensor.
        rate, b = cast("tuple[Tensor, Tensor]", ctx.saved_tensors)
        rate64, b64, m = _as_arrays(rate, b)
        below, at = _poisson_cdf(m - 1, rate64), _poisson_cdf(m, rate64)
        by_rate = 1 - 2 * below - 2 * (b64 - m) * (at - below)
        return gradient * torch.as_tensor(by_rate).to(rate), gradient * torch.as_tensor(2 * at - 1).to(rate)


def _as_arrays(*tensors: Tensor) -> list[np.ndarray]:
    """The tensors and floor of the last one, broadcast to one shape, in double precision."""
    arrays = np.broadcast_arrays(*(t.detach().cpu().double().numpy() for t in tensors))
    return [*arrays, np.floor(arrays[-1])]


def _binomial_cdf(m: np.ndarray, k: np.ndarray, p: np.ndarray) -> np.ndarray:
    """F(m; k, p): one for m >= k, zero for m < 0."""
    trials = np.maximum(k, 0)
    inside = special.bdtr(np.clip(m, 0, trials), trials.astype(np.int64), p)
    return np.where(m < 0, 0.0, np.where(m >= trials, 1.0, inside))


def _poisson_cdf(m: np.ndarray, rate: np.ndarray) -> np.ndarray:
    """F(m; lambda): zero for m < 0."""
    return np.where(m < 0, 0.0, special.pdtr(np.maximum(m, 0), rate))
