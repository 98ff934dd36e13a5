"""The score-function estimator (Williams 1992), with a leave-one-out baseline or none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from plumbline.distributions.estimators import EstimatorSpec
from plumbline.spec import key

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor


class ScoreFunctionSpec(EstimatorSpec):
    """f grad log p(z | A z = k), and minus a baseline: the mean loss of other draws, which leaves it unbiased."""

    kind: Literal["score_function"] = "score_function"
    baseline_draws: int = key("draws", ge=0, default=0)
    """Further draws whose mean loss is the baseline; zero for none."""

    def surrogate(self, distribution: Any, loss: Callable[[Tensor], Tensor], samples: int = 1) -> Tensor:
        z = distribution.sample((samples,))
        value = loss(z)
        weight = value.detach()
        if self.baseline_draws:
            others = distribution.sample((self.baseline_draws,)).detach()
            weight = weight - loss(others).detach().mean(0)
        log_prob = distribution.log_prob(z)
        return value + weight * (log_prob - log_prob.detach())
