r"""Objectives: what a predictive law is trained by, given the true state.

Point objectives judge the mean alone; expected ones the whole law, in closed form (Li et al. 2025, Proposition
5.1); `likelihood` its density; `sampled` its samples, through a gradient estimator. Under a point objective nothing
trains the variance: `fits_variance` says so, and the model then fits it to the residuals by likelihood, with
gradients stopped before the mean.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from plumbline.spec import ByKind, Kind

if TYPE_CHECKING:
    from torch import Tensor


class ObjectiveSpec(Kind):
    """Base of the objective kinds."""

    def loss(self, law: Any, target: Tensor) -> Tensor:
        """The loss (*B,) of a law with the event shape (n,) for the true states (*B, n)."""
        raise NotImplementedError

    def fits_variance(self) -> bool:
        """Whether the variance needs a fit of its own."""
        return False

    def power(self) -> int:
        """The power of the state's unit that the loss is in: two for squared errors, zero for likelihoods."""
        return 0


AnyObjective = Annotated[ObjectiveSpec, ByKind()]
