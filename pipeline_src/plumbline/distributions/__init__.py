"""Probability distributions under linear equality constraints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from plumbline._lazy import exports

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from plumbline.linalg.gram import LinearMap


@runtime_checkable
class LinearConstraint(Protocol):
    """A linear equality A z = k that a distribution can be conditioned on."""

    @property
    def independent(self) -> LinearMap:
        """Linearly independent rows with the same span as those of A: a map from (*B, n) to (*B, r)."""
        ...

    def independent_residual(self, x: Tensor) -> Tensor:
        """The residual A x - k (*B, r) of flattened samples (*B, n), in the independent rows, in float64."""
        ...

    def pivots(self, *, last: bool) -> Tensor:
        """The indices (r,) of the last (or first) coordinates for which the equality can be solved."""
        ...


@runtime_checkable
class PredictiveDistribution(Protocol):
    """A distribution of states, in their unit, with the batch shape *B and the event shape (n,)."""

    @property
    def has_rsample(self) -> bool:
        """Whether its samples are differentiable in its parameters."""
        ...

    @property
    def mean(self) -> Tensor:
        """The mean (*B, n)."""
        ...

    @property
    def variance(self) -> Tensor:
        """The variance (*B, n) of each coordinate, in the states' squared unit."""
        ...

    def sample(self, sample_shape: torch.Size | tuple[int, ...] = ...) -> Tensor:
        """Samples (*S, *B, n) without gradients, for the `sample_shape` *S."""
        ...

    def rsample(self, sample_shape: torch.Size | tuple[int, ...] = ...) -> Tensor:
        """Samples (*S, *B, n) with gradients; only if `has_rsample` is true."""
        ...

    def log_prob(self, value: Tensor) -> Tensor:
        """The log-density (*C,) of values (*C, n) in nats, on the feasible set if there is one."""
        ...

    def expected_l1(self, target: Tensor) -> Tensor:
        """The expected losses E|z_i - b_i| (*B, n) for a target b (*B, n)."""
        ...

    def expected_l2(self, target: Tensor) -> Tensor:
        """The expected losses E(z_i - b_i)^2 (*B, n) for a target b (*B, n)."""
        ...


@runtime_checkable
class CorrectsDraws(Protocol):
    """A distribution on a feasible set whose samples are corrected samples of a free distribution."""

    def draw_pair(self, sample_shape: torch.Size | tuple[int, ...] = ...) -> tuple[Tensor, Tensor]:
        """Free samples (*S, *B, n), and the exact samples (*S, *B, n) obtained by correcting them."""
        ...

    def projected(self, sample_shape: torch.Size | tuple[int, ...] = ...) -> Tensor:
        """Free samples (*S, *B, n), projected onto the feasible set."""
        ...


@runtime_checkable
class HasRowDensity(Protocol):
    """A distribution in which the rows of the equality are independent: sums over disjoint groups."""

    def log_prob_by_row(self, value: Tensor) -> Tensor:
        """The log-density (*C, m) of each group of coordinates, for values (*C, n), in nats."""
        ...


__getattr__ = exports(
    __name__,
    {
        "constrained_gaussian": ("ConstrainedGaussian",),
        "constrained_poisson": ("ConstrainedPoisson",),
        "corrected_gaussian": ("CorrectedGaussian",),
        "independent_gaussian": ("IndependentGaussian",),
        "independent_poisson": ("IndependentPoisson",),
    },
)
"""Public classes of the room's modules, imported when first used."""
