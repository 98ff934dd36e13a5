r"""Projected ascent of the dual function of a constrained problem.

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

import torch
from jaxtyping import Float
from torch import Tensor

from plumbline.models.multipliers import DualAscentSpec
from plumbline.models.multipliers.multipliers import Multipliers


class InfeasibleConstraintsError(RuntimeError):
    """A multiplier grew beyond all bounds: no model satisfies the constraints together."""


class DualAscent(Multipliers):
    """Multipliers that follow the violations of their constraints."""

    violations: Tensor
    steps: Tensor

    def __init__(self, spec: DualAscentSpec, constraints: int) -> None:
        super().__init__([spec.initial] * constraints)
        self.spec = spec
        self.register_buffer("violations", torch.zeros(constraints))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def update(self, violations: Float[Tensor, " m"]) -> None:
        """Adds the violations that a primal step found; every so many, a dual step.

        Raises:
            InfeasibleConstraintsError: a multiplier reached the largest that is allowed.
        """
        spec = self.spec
        self.steps += 1
        done = int(self.steps)
        if done <= spec.start:
            return
        self.violations += _mean_over_processes(violations) / spec.every
        if (done - spec.start) % spec.every:
            return
        self.values.copy_((self.values + spec.learning_rate * self.gradient(self.violations)).clamp(min=0))
        self.violations.zero_()
        if spec.resilience is None and float(self.values.max()) >= spec.largest:
            raise InfeasibleConstraintsError(
                f"multiplier {int(self.values.argmax()) + 1} of {len(self.values)} reached {spec.largest} at step {done}: "
                f"no model seems to satisfy the constraints together. Loosen the thresholds, set `resilience` so that they "
                f"give way at a cost, or lower `learning_rate` if the multipliers only overshot."
            )

    def gradient(self, violations: Float[Tensor, " m"]) -> Float[Tensor, " m"]:
        """The gradient of the dual function where the constraints are violated by so much."""
        if self.spec.resilience is None:
            return violations
        return violations - self.values / self.spec.resilience


def _mean_over_processes(values: Tensor) -> Tensor:
    """Every process trains on its own share of a batch; the multipliers are one set for all."""
    if not torch.distributed.is_initialized():
        return values
    total = values.clone()
    torch.distributed.all_reduce(total)
    return total / torch.distributed.get_world_size()
