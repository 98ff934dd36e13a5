r"""Independent Poisson counts, without a constraint.

For z ~ Poisson(lambda), a real number b with m = floor(b), and the distribution function F and the
probabilities f of z,

    E(z - b)^2 = (lambda - b)^2 + lambda
    E|z - b|   = lambda - b + 2 [b F(m) - lambda F(m - 1)]
    d/dlambda E|z - b| = 1 - 2 F(m - 1) - 2 (b - m) f(m).

They are the limits for k -> infinity and k p = lambda of the expectations under Binomial(k, p), which
`plumbline.distributions.constrained_poisson` has for counts with a known sum.
"""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from jaxtyping import Float
from scipy import special
from torch import Tensor
from torch.autograd.function import BackwardCFunction
from torch.distributions import Distribution, Independent, Poisson


class IndependentPoisson(Independent):
    """Poisson(rate) for each coordinate, with the expected losses that the constrained distribution has.

    Args:
        rate: lambda (*B, n), positive.
        validate_args: whether to check the rates; torch's default if None.

    Raises:
        ValueError: a rate is not positive or not finite.
    """

    def __init__(self, rate: Float[Tensor, "*B n"], *, validate_args: bool | None = None) -> None:
        checked = Distribution._validate_args if validate_args is None else validate_args
        if checked and not bool(((rate > 0) & torch.isfinite(rate)).all()):
            raise ValueError("rates must be finite and positive.")
        self.rate = rate
        super().__init__(Poisson(rate, validate_args=False), 1, validate_args=False)

    def expected_l1(self, target: Float[Tensor, "*T n"]) -> Float[Tensor, "*B n"]:
        """E|z_i - b_i| of each count, in closed form; differentiable once."""
        return _ExpectedAbsolute.apply(self.rate, target)

    def expected_l2(self, target: Float[Tensor, "*T n"]) -> Float[Tensor, "*B n"]:
        """E(z_i - b_i)^2 of each count, in closed form."""
        return (self.rate - target).square() + self.rate


class _ExpectedAbsolute(torch.autograd.Function):
    """E|z - b| for z ~ Poisson(lambda), with SciPy's distribution function, since torch has none."""

    @staticmethod
    def forward(ctx: BackwardCFunction, rate: Tensor, b: Tensor) -> Tensor:
        ctx.save_for_backward(rate, b)
        rate64, b64, m = _as_arrays(rate, b)
        return torch.as_tensor(rate64 - b64 + 2 * (b64 * _cdf(m, rate64) - rate64 * _cdf(m - 1, rate64))).to(
            rate
        )

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: BackwardCFunction, gradient: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        # torch's type stub declares a single tensor.
        rate, b = cast("tuple[Tensor, Tensor]", ctx.saved_tensors)
        rate64, b64, m = _as_arrays(rate, b)
        at = _cdf(m, rate64) - _cdf(m - 1, rate64)
        by_rate = 1 - 2 * _cdf(m - 1, rate64) - 2 * (b64 - m) * at
        by_b = 2 * _cdf(m, rate64) - 1
        return gradient * torch.as_tensor(by_rate).to(rate), gradient * torch.as_tensor(by_b).to(rate)


def _as_arrays(rate: Tensor, b: Tensor) -> list[np.ndarray]:
    """lambda, b and floor(b), broadcast to one shape, in double precision."""
    arrays = np.broadcast_arrays(*(t.detach().cpu().double().numpy() for t in (rate, b)))
    return [*arrays, np.floor(arrays[-1])]


def _cdf(m: np.ndarray, rate: np.ndarray) -> np.ndarray:
    """The distribution function F(m; lambda): zero for m < 0."""
    return np.where(m < 0, 0.0, special.pdtr(np.maximum(m, 0), rate))
