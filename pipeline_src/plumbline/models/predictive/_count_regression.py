r"""Regression of counts: a network gives Poisson rates, and the counts may be given their total.

With the features h(c) of a condition c and the logarithms eta = W h + b, counts with a known total k follow

    z | sum_i z_i = k  ~  Multinomial(k, softmax(eta)),

the distribution of independent Poisson counts with rates exp(eta_i), given their sum (Li, Sahu, Van den
Broeck, Zeng 2025, https://arxiv.org/abs/2502.05416, Proposition 7.2). The alternative without the constraint
has rates exp(eta_i), or k exp(eta_i) if the total is known: k is then the exposure.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from plumbline.constraints import LinearEqualityConstraint
from plumbline.distributions import PredictiveDistribution
from plumbline.distributions.constrained_poisson import ConstrainedPoisson
from plumbline.distributions.independent_poisson import IndependentPoisson
from plumbline.distributions.objectives import ObjectiveSpec
from plumbline.models._moments import RunningMoments
from plumbline.models._on_device import WithConstraints
from plumbline.models._preparing import PreparedInBlocks, SampleBlock
from plumbline.models._spaces import StandardisedCondition
from plumbline.networks import SampleShape

# Relative error of a total, below which it counts as the whole number next to it.
ROUNDING = 1e-9


class CountRegression(PreparedInBlocks, WithConstraints):
    """The distribution of counts (B, *S) given their condition (B, C).

    Args:
        sample: the shape of the counts, and C.
        network: builds a network from C inputs to features.
        features: number of features.
        objective: the loss of the distribution, given the true counts.
        total: the equality that gives the sum of all counts; None if the total is not known.
        conditioned: whether the counts are given their total; needs one.

    Raises:
        ValueError: the dataset has no condition, or the equality is not the sum of all coordinates.
    """

    def __init__(
        self,
        sample: SampleShape,
        *,
        network: Callable[[int], nn.Module],
        features: int,
        objective: ObjectiveSpec,
        total: LinearEqualityConstraint | None,
        conditioned: bool,
    ) -> None:
        super().__init__()
        if not sample.condition and not sample.field:
            raise ValueError(
                "a regression of counts predicts from a `condition`, which this dataset does not have."
            )
        self.objective, self.total, self.conditioned = objective, total, conditioned
        self.weight = 1.0 if total is None else _weight_of_sum(total.matrix, math.prod(sample.shape))
        self.condition = StandardisedCondition(sample.condition, field=sample.field, shared=sample.shared)
        self.network = network(sample.condition or math.prod(sample.field))
        self.head = nn.Linear(features, math.prod(sample.shape))

    def prepare_in_blocks(self, blocks: Iterable[SampleBlock]) -> None:
        """Fits the standardisation of conditions, and starts at the mean counts.

        Raises:
            ValueError: a state is not a count.
        """
        self.condition.fit_blocks(blocks)
        moments = RunningMoments()
        for block in blocks:
            counts = block["state"].flatten(1).double()
            if not bool(((counts >= 0) & (counts == counts.round())).all()):
                raise ValueError("`count_regression` requires counts: whole numbers, at least zero.")
            moments.add(counts)
        mean = moments.mean.clamp(min=1e-3)
        exposure = mean.sum() if self.total is not None else mean.new_ones(())
        with torch.no_grad():
            self.head.weight.mul_(0.1)
            self.head.bias.copy_((mean / exposure).log())

    def distribution(self, batch: dict[str, Tensor]) -> PredictiveDistribution:
        """The distribution of the flattened counts (B, n)."""
        given = self.condition.arguments(batch)
        features = self.network(given["condition"] if "condition" in given else given["field"].flatten(1))
        logarithms = self.head(features)
        if not self.conditioned:
            exposure = 1.0 if self.total is None else self._totals(batch).to(logarithms)[:, None]
            return IndependentPoisson(exposure * logarithms.exp(), validate_args=False)
        # The distribution depends on the ratios of the rates only.
        rates = logarithms.softmax(-1)
        return ConstrainedPoisson(rates, self._totals(batch).to(rates), validate_args=False)

    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The objective's mean over the batch, and its terms."""
        distribution, target = self.distribution(batch), batch["state"].flatten(1)
        loss = self.objective.loss(distribution, target).mean()
        error = (distribution.mean.detach() - target).abs().mean()
        return loss, {"objective": loss.detach() / target.shape[1], "absolute_error": error}

    def predict(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """A sample, mean, standard deviation and log-likelihood of the true counts.

        Without the total, the probability is one of all counts, whatever their sum. It is returned as
        `log_likelihood_free`, since it cannot be compared with a probability given the sum.
        """
        distribution = self.distribution(batch)
        shape = batch["state"].shape
        name = "log_likelihood" if self.conditioned else "log_likelihood_free"
        return {
            "state": distribution.sample().view(shape),
            "predicted_mean": distribution.mean.view(shape),
            "predicted_std": distribution.variance.sqrt().view(shape),
            name: distribution.log_prob(batch["state"].flatten(1)),
        }

    def _totals(self, batch: dict[str, Tensor]) -> Float[Tensor, " B"]:
        """The known totals k: the residual of no counts is -k times the weight."""
        assert self.total is not None  # the spec ensures it
        nothing = torch.zeros_like(batch["state"], dtype=torch.float64).flatten(1)
        totals = -self.total.bind(batch).independent_residual(nothing)[:, 0] / self.weight
        whole = totals.round()
        return torch.where((totals - whole).abs() <= ROUNDING * whole, whole, totals)


def _weight_of_sum(matrix: Float[Tensor, "r n"], n: int) -> float:
    """The weight of all coordinates in an equality that gives their sum.

    Raises:
        ValueError: it gives something else.
    """
    if matrix.shape != (1, n) or not torch.allclose(matrix, matrix[:, :1]):
        raise ValueError(
            "`constraint`: expected the sum of all counts, such as `conserved` with a `total`; this equality "
            "has several rows, or weights that differ."
        )
    return float(matrix[0, 0])
