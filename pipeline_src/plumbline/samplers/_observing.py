"""Linear equalities as observations with little noise, for azula's samplers of inverse problems.

Those take an observation y = A x + noise. Here A x = k is the constraint, in the model's space, and the
standard deviation of the noise is a key. The samples meet the constraint up to this noise;
`final_projection` around such a sampler removes the rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from plumbline.constraints import LinearEqualityConstraint
from plumbline.samplers import ConstrainedSpec
from plumbline.spec import key

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from plumbline.samplers._denoising import DenoisingContext


class ObservingSpec(ConstrainedSpec):
    """Base of the kinds that wrap a denoiser of azula for linear observations."""

    noise: float = key("unit of the residual", gt=0, default=0.01)
    """Standard deviation of the noise that the equalities are given."""

    def requires(self) -> tuple[type, ...]:
        return (LinearEqualityConstraint,)

    def observation(self, context: DenoisingContext) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """The observation y (B, m), and the linear map A from points (B, *Z) of the model's space to (B, m).

        Raises:
            ValueError: the model's space is that of a mirror map, where equalities are not linear.
        """
        import torch

        if getattr(context.space, "decoding_evaluations", 0):
            raise ValueError(
                f"`{self.kind}` requires equalities that are linear in the model's space, found a "
                f"{type(context.space).__name__}: draw from a model of standardised data."
            )
        constraint = context.task.constraints[self.constraint]

        def residual(z: Tensor) -> Tensor:
            return constraint.residual(context.decode(z)).flatten(1)

        with torch.no_grad():
            state = context.task.batch["state"].to(torch.get_default_dtype())
            offset = residual(torch.zeros_like(context.space.encode(state)))
        return -offset, lambda z: residual(z) - offset
