r"""Lagrange multipliers, constant or set by projected ascent of the dual function of a constrained problem.

For the problem min_p F(p) subject to c_i(p) <= 0, with the Lagrangian F(p) + sum_i lambda_i c_i(p), the dual
function is the minimum of the Lagrangian over p. It is concave, and the violation c_i at the minimiser is its
gradient. With primal steps that keep p near the minimiser, the dual step is

    lambda_i <- [ lambda_i + eta c_i ]_+.

The multiplier of a slack constraint falls to zero, and that of an infeasible one grows without bound.
**Resilience** relaxes thresholds at a cost: with c_i(p) <= z_i and the cost alpha |z|^2 / 2 in the objective,
the optimal relaxation is z_i = lambda_i / alpha, and the gradient becomes c_i - lambda_i / alpha, so that
multipliers stay bounded.

Dual ascent integrates the violations, so that multipliers overshoot and oscillate where the model follows
them slowly. A **proportional-integral controller** adds a term that follows the violations themselves: with
the violation e at a dual step, and its moving average xi <- nu xi + (1 - nu) e,

    lambda_i <- [ lambda_i + eta e_i + kappa (xi_i - xi_i') ]_+,

where xi' is the average before the step. A violation that falls lowers the multiplier before the constraint
holds. With kappa = 0 this is dual ascent. xi starts at the first violation, whose step is one of dual ascent.

Sources: Khalafi, Ding, Ribeiro (NeurIPS 2024), section 3, https://arxiv.org/abs/2408.15094; Hounie, Ribeiro,
Chamon, "Resilient constrained learning" (NeurIPS 2023), eq. 8, https://arxiv.org/abs/2306.02426; Sohrabi et
al., "On PI controllers for updating Lagrange multipliers" (ICML 2024), https://arxiv.org/abs/2406.04558.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypedDict

import torch
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import Unpack

from plumbline.models._on_device import Counter
from plumbline.models._processes import mean_over_processes

# On a GPU, the number of dual steps after which the multipliers are looked at.
DUAL_STEPS_BETWEEN_LOOKS = 50


class Multipliers(nn.Module):
    """One multiplier per constraint; in this base class they are constant.

    Args:
        values: the multipliers.

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
        """Called before the training with fractions in the data and thresholds; used by closed forms only."""

    def update(self, violations: Float[Tensor, " m"]) -> None:
        """Called with the violations at a primal step; in this class the multipliers do not change."""


class InfeasibleConstraintsError(RuntimeError):
    """No model seems to satisfy the constraints together."""


class Ascent(Multipliers):
    """Multipliers that follow the mean violations of their constraints over some primal steps.

    Args:
        constraints: m.
        initial: the multipliers at the start.
        learning_rate: eta.
        every: primal steps per dual step.
        start: primal steps before the first dual step.

    Attributes:
        violations: the mean violations accumulated since the last dual step (m,).
        steps: number of primal steps so far.
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
        self.counter = Counter()

    @torch.no_grad()
    def update(self, violations: Float[Tensor, " m"]) -> None:
        """Accumulates the violations of a primal step, and takes a dual step after every `every` of them."""
        done = self.counter.increment(self.steps)
        if done <= self.start:
            return
        self.violations += mean_over_processes(violations) / self.every
        if (done - self.start) % self.every == 0:
            self.values.copy_(self.moved(self.violations))
            self.violations.zero_()

    def dual_steps(self) -> int:
        """The number of dual steps, with the one that is being taken."""
        return (self.counter.read(self.steps) - self.start) // self.every

    def moved(self, violations: Float[Tensor, " m"]) -> Float[Tensor, " m"]:
        """The multipliers after a dual step."""
        raise NotImplementedError


class AscentOptions(TypedDict, total=False):
    """The keyword arguments of `DualAscent`."""

    initial: float
    resilience: float | None
    largest: float
    learning_rate: float
    every: int
    start: int


class DualAscent(Ascent):
    """Nonnegative multipliers of inequality constraints, by dual ascent.

    Sources: https://arxiv.org/abs/2408.15094; with resilience https://arxiv.org/abs/2306.02426.

    Args:
        constraints: m.
        initial: the multipliers at the start; zero means no constraint.
        resilience: alpha in the cost of relaxing a threshold; None for fixed thresholds.
        largest: multiplier at which a constraint without resilience counts as infeasible.
        learning_rate: eta.
        every: primal steps per dual step.
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
            InfeasibleConstraintsError: a multiplier without resilience reached `largest`.
        """
        moved = (self.values + self.step(violations)).clamp(min=0)
        if self.resilience is None and self._is_time_to_look() and float(moved.max()) >= self.largest:
            raise InfeasibleConstraintsError(
                f"multiplier {int(moved.argmax()) + 1} of {len(moved)} reached {self.largest} at step "
                f"{int(self.steps)}: no model seems to satisfy the constraints together. Loosen the "
                f"thresholds, set `resilience` to relax them at a cost, or lower `learning_rate` if the "
                f"multipliers only overshot."
            )
        return moved

    def _is_time_to_look(self) -> bool:
        """Whether the multipliers are compared with `largest`: on a GPU, which must be waited for, seldom."""
        return self.values.device.type == "cpu" or self.dual_steps() % DUAL_STEPS_BETWEEN_LOOKS == 0

    def step(self, violations: Float[Tensor, " m"]) -> Float[Tensor, " m"]:
        """The change of the multipliers at these violations, before they are made nonnegative."""
        return self.learning_rate * self.gradient(violations)

    def gradient(self, violations: Float[Tensor, " m"]) -> Float[Tensor, " m"]:
        """The gradient of the dual function at these violations."""
        if self.resilience is None:
            return violations
        return violations - self.values / self.resilience


class ProportionalIntegral(DualAscent):
    """Nonnegative multipliers of inequality constraints by a proportional-integral controller (nu-PI).

    Source: Sohrabi et al. (ICML 2024), https://arxiv.org/abs/2406.04558.

    Args:
        constraints: m.
        proportional: kappa, the weight of changes of the averaged violation.
        smoothing: nu, of the moving average of violations; zero for none.
        options: those of `DualAscent`; its `learning_rate` is the weight of the integral.

    Attributes:
        averages: the averaged violations (m,).
    """

    averages: Tensor

    def __init__(
        self,
        constraints: int,
        *,
        proportional: float,
        smoothing: float = 0.0,
        **options: Unpack[AscentOptions],
    ) -> None:
        super().__init__(constraints, **options)
        self.proportional, self.smoothing = proportional, smoothing
        self.register_buffer("averages", torch.zeros(constraints))

    def step(self, violations: Float[Tensor, " m"]) -> Float[Tensor, " m"]:
        error = self.gradient(violations)
        before = error if self.dual_steps() == 1 else self.averages.clone()
        self.averages.copy_(self.smoothing * before + (1 - self.smoothing) * error)
        return self.learning_rate * error + self.proportional * (self.averages - before)


class SimplexAscent(Ascent):
    """Multipliers of c_i(p) <= u where u is minimised; stationarity in u makes them sum to one.

    Source: https://arxiv.org/abs/2508.19104.

    Args:
        constraints: m; all multipliers are 1 / m at the start.
        learning_rate: eta.
        every: primal steps per dual step.
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
    """The Euclidean projection onto the probability simplex.

    Source: Held, Wolfe, Crowder (1974), https://doi.org/10.1007/BF01580223.
    """
    descending, count = x.sort(descending=True).values, torch.arange(1, len(x) + 1, device=x.device)
    levels = (descending.cumsum(0) - 1) / count
    return (x - levels.take((descending > levels).sum() - 1)).clamp(min=0)
