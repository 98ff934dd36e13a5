"""Independent Poisson counts, without a constraint.

E(z - b)^2 = (lambda - b)^2 + lambda; `_count_errors` has the expected absolute error.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution, Independent, Poisson

from plumbline.distributions._count_errors import PoissonAbsoluteError


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
        return PoissonAbsoluteError.apply(self.rate, target)

    def expected_l2(self, target: Float[Tensor, "*T n"]) -> Float[Tensor, "*B n"]:
        """E(z_i - b_i)^2 of each count, in closed form."""
        return (self.rate - target).square() + self.rate
