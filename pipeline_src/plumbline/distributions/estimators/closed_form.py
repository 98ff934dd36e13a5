"""The expectation itself, for point-wise losses: the truth that estimators are judged by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from plumbline.distributions.estimators import EstimatorSpec

if TYPE_CHECKING:
    from torch import Tensor

    from plumbline.distributions.estimators.protocols import Estimable
    from plumbline.distributions.losses import Loss


class ClosedFormSpec(EstimatorSpec):
    """The expected loss in closed form (Propositions 5.1 and 7.1), for absolute and squared losses."""

    kind: Literal["closed_form"] = "closed_form"

    def surrogate(self, distribution: Estimable, loss: Loss, samples: int = 1) -> Tensor:
        if not hasattr(loss, "expected"):
            raise ValueError("`closed_form` needs a loss with a known expectation: absolute or squared.")
        expected = loss.expected(distribution)
        return expected.expand(samples, *expected.shape)
