r"""Lagrange multipliers as a module, which stay as they are.

Projected ascent of the dual function of a constrained problem.

Of the problem min_p F(p) subject to c_i(p) <= 0, with the Lagrangian F(p) + sum_i lambda_i c_i(p), the dual function is
the minimum of the Lagrangian over p. It is concave, and the violation c_i at the minimiser is its gradient. With primal
steps that keep p near the minimiser,

    lambda_i <- [ lambda_i + eta c_i ]_+.

A constraint that holds with room to spare loses its multiplier, and one that cannot hold has a multiplier without bound.
**Resilience** lets thresholds give way at a cost: with c_i(p) <= z_i and the cost alpha |z|^2 / 2 in the objective, the best
relaxation is z_i = lambda_i / alpha, and the gradient becomes c_i - lambda_i / alpha: the multipliers stay bounded.

Sources: Khalafi, Ding, Ribeiro (NeurIPS 2024), section 3; Hounie, Ribeiro, Chamon, "Resilient constrained learning"
(NeurIPS 2023), eq. 8.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Multipliers(nn.Module):
    """One multiplier a constraint.

    Attributes:
        values: the multipliers (m,), a buffer: they are saved, resumed and averaged with the weights.
    """

    values: Tensor

    def __init__(self, values: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("values", torch.tensor(list(values)))

    def terms(self, names: Iterable[str]) -> dict[str, Tensor]:
        """The multipliers as terms for the log, by the names of their constraints."""
        return {f"multiplier_{name}": value for name, value in zip(names, self.values.clone(), strict=True)}

    def fit(self, fractions: Float[Tensor, " m"], thresholds: Float[Tensor, " m"]) -> None:
        """Takes note, before the training, of shares in the data and thresholds; needed by closed forms alone."""

    def update(self, violations: Float[Tensor, " m"]) -> None:
        """Takes note of what a step found the constraints to be violated by; here they stay as they are."""


class InfeasibleConstraintsError(RuntimeError):
    """A multiplier grew beyond all bounds: no model satisfies the constraints together."""


class Ascent(Multipliers):
    """Multipliers that follow the mean violations of their constraints over some primal steps.

    Args:
        constraints: m.
        initial: the multipliers at the start.
        learning_rate: eta.
        every: primal steps to each dual step.
        start: primal steps before the first dual step.
    """

    violations: Tensor
    steps: Tensor

    def __init__(
        self, constraints: int, *, initial: float, learning_rate: float = 1e-3, every: int = 2, start: int = 0
    ) -> None:
        super().__init__([initial] * constraints)
        self.every, self.start, self.learning_rate = every, start, learning_rate
        self.register_buffer("violations", torch.zeros(constraints))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def update(self, violations: Float[Tensor, " m"]) -> None:
        """Adds the violations that a primal step found; every so many, a dual step."""
        self.steps += 1
        done = int(self.steps)
        if done <= self.start:
            return
        self.violations += _mean_over_processes(violations) / self.every
        if (done - self.start) % self.every == 0:
            self.values.copy_(self.moved(self.violations))
            self.violations.zero_()

    def moved(self, violations: Float[Tensor, " m"]) -> Float[Tensor, " m"]:
        """The multipliers after a dual step."""
        raise NotImplementedError


class DualAscent(Ascent):
    """Multipliers of inequalities: they are not negative.

    Args:
        constraints: m.
        initial: the multipliers at the start; zero is no constraint.
        resilience: alpha in the cost of relaxing a threshold; None for thresholds that do not give way.
        largest: multiplier at which a constraint without resilience counts as infeasible.
        learning_rate: eta.
        every: primal steps to each dual step.
        start: primal steps before the first dual step.
    """

    def __init__(
        self,
        constraints: int,
        *,
        initial: float = 0.0,
        resilience: float | None = None,
        largest: float = 100.0,
        learning_rate: float = 1e-3,
        every: int = 2,
        start: int = 0,
    ) -> None:
        super().__init__(constraints, initial=initial, learning_rate=learning_rate, every=every, start=start)
        self.resilience, self.largest = resilience, largest

    def moved(self, violations: Float[Tensor, " m"]) -> Float[Tensor, " m"]:
        """The multipliers after a dual step.

        Raises:
            InfeasibleConstraintsError: one reached the largest that is allowed.
        """
        moved = (self.values + self.learning_rate * self.gradient(violations)).clamp(min=0)
        if self.resilience is None and float(moved.max()) >= self.largest:
            raise InfeasibleConstraintsError(
                f"multiplier {int(moved.argmax()) + 1} of {len(moved)} reached {self.largest} at step {int(self.steps)}: "
                f"no model seems to satisfy the constraints together. Loosen the thresholds, set `resilience` so that they "
                f"give way at a cost, or lower `learning_rate` if the multipliers only overshot."
            )
        return moved

    def gradient(self, violations: Float[Tensor, " m"]) -> Float[Tensor, " m"]:
        """The gradient of the dual function where the constraints are violated by so much."""
        if self.resilience is None:
            return violations
        return violations - self.values / self.resilience


class SimplexAscent(Ascent):
    """Multipliers of c_i(p) <= u with the least u that there is: its own stationarity makes them sum to one.

    Args:
        constraints: m; all multipliers are 1 / m at the start.
        learning_rate: eta.
        every: primal steps to each dual step.
        start: primal steps before the first dual step.
    """

    def __init__(
        self, constraints: int, *, learning_rate: float = 1e-3, every: int = 2, start: int = 0
    ) -> None:
        super().__init__(
            constraints, initial=1 / constraints, learning_rate=learning_rate, every=every, start=start
        )

    def moved(self, violations: Float[Tensor, " m"]) -> Float[Tensor, " m"]:
        """The multipliers after a dual step."""
        return onto_simplex(self.values + self.learning_rate * violations)


def onto_simplex(x: Float[Tensor, " m"]) -> Float[Tensor, " m"]:
    """The nearest vector without negative entries that sums to one (Held, Wolfe, Crowder 1974)."""
    falling, count = x.sort(descending=True).values, torch.arange(1, len(x) + 1, device=x.device)
    levels = (falling.cumsum(0) - 1) / count
    return (x - levels[(falling > levels).sum() - 1]).clamp(min=0)


def _mean_over_processes(values: Tensor) -> Tensor:
    """Every process trains on its own share of a batch; the multipliers are one set for all."""
    if not torch.distributed.is_initialized():
        return values
    total = values.clone()
    torch.distributed.all_reduce(total)
    return total / torch.distributed.get_world_size()
