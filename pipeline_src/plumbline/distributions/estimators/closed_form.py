"""The expectation itself, for point-wise losses: the truth that estimators are judged by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from plumbline.distributions.estimators import EstimatorSpec

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor


class ClosedFormSpec(EstimatorSpec):
    """The expected loss in closed form (Propositions 5.1 and 7.1), for absolute and squared losses."""

    kind: Literal["closed_form"] = "closed_form"

    def surrogate(self, distribution: Any, loss: Callable[[Tensor], Tensor], samples: int = 1) -> Tensor:
        expectation = getattr(loss, "expected", None)
        if expectation is None:
            raise ValueError("`closed_form` needs a loss with a known expectation: absolute or squared.")
        expected = expectation(distribution)
        return expected.expand(samples, *expected.shape)
