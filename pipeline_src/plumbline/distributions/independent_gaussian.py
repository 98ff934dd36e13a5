"""Independent Gaussian coordinates, without a constraint."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal

from plumbline.distributions.losses import expected_absolute, expected_squared
from plumbline.linalg.checks import require_finite, require_variances


class IndependentGaussian(Independent):
    """N(mean, diag(variance)), with the expected losses that the constrained distributions have.

    Args:
        mean: (*B, n).
        variance: (*B, n), positive.
        validate_args: whether to check mean and variances; torch's default if None.

    Raises:
        ValueError: the mean is not finite, or a variance is not positive.
    """

    def __init__(
        self,
        mean: Float[Tensor, "*B n"],
        variance: Float[Tensor, "*B n"],
        *,
        validate_args: bool | None = None,
    ) -> None:
        if Distribution._validate_args if validate_args is None else validate_args:
            require_finite(mean, "the mean of a Gaussian")
            require_variances(variance, positive=True)
        super().__init__(Normal(mean, variance.sqrt(), validate_args=False), 1, validate_args=False)

    def expected_l1(self, target: Float[Tensor, "*T n"]) -> Float[Tensor, "*B n"]:
        """E|z_i - b_i| of each coordinate, in closed form."""
        return expected_absolute(self.mean - target, self.variance)

    def expected_l2(self, target: Float[Tensor, "*T n"]) -> Float[Tensor, "*B n"]:
        """E(z_i - b_i)^2 of each coordinate, in closed form."""
        return expected_squared(self.mean - target, self.variance)
