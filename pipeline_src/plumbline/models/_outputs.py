r"""Outputs on a feasible set: distributions in the scaled space, their losses and their predictions.

The loss is an objective of the distribution, plus a fit of the variance where nothing else trains it, plus a
penalty.

With x = shift + d z, the equality A x = k becomes A diag(d) z = k - A shift. Distributions are formed in the
scaled space, which is the one the network works in: projections are orthogonal there. Densities are given in
the data's units, with respect to the volume of the feasible set. With D = diag(d) and independent rows of A'
= A D, that volume grows from z to x by the factor

    det(D^2)^{1/2} det(A' D^{-2} A'^T)^{1/2} / det(A' A'^T)^{1/2}.
"""

from __future__ import annotations

from collections.abc import Iterable

from jaxtyping import Float
from torch import Tensor

from plumbline.constraints import LinearEqualityConstraint
from plumbline.distributions import LinearConstraint, PredictiveDistribution
from plumbline.distributions.likelihoods import LikelihoodSpec
from plumbline.models._on_device import WithConstraints
from plumbline.models._output_specs import Supervision
from plumbline.models._spaces import Scaling, Standardisation


def supervised_loss(
    by: Supervision, mean: Tensor, variance: Tensor, constraint: LinearConstraint | None, target: Tensor
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss (*B,) of a predicted distribution, and its terms: means over batch and coordinates.

    The terms also hold `absolute_error`, that of the distribution's mean, by which methods with different
    objectives can be compared.

    Args:
        by: likelihood, objective and penalty.
        mean: the mean before the constraint (*B, n).
        variance: the variance before the constraint (*B, n).
        constraint: the equality, bound to this batch, or None.
        target: the true states (*B, n).
    """
    distribution, dim = by.likelihood.distribution(mean, variance, constraint), target.shape[-1]
    loss = by.objective.loss(distribution, target)
    terms = {"objective": loss.detach().mean() / dim}
    terms["absolute_error"] = (distribution.mean.detach() - target).abs().mean()
    if by.variance_apart:
        fit = -by.likelihood.distribution(mean.detach(), variance, constraint).log_prob(target)
        loss, terms["variance_fit"] = loss + fit, fit.detach().mean() / dim
    if by.penalty:
        assert constraint is not None  # the spec ensures it
        residual = constraint.independent_residual(mean).square().mean(-1).to(mean.dtype)
        loss, terms["penalty"] = loss + by.penalty * residual, residual.detach().mean()
    return loss, terms


class FeasibleOutput(WithConstraints):
    """The distribution of samples (B, *S), given a mean and a variance per coordinate of the scaled space.

    Args:
        likelihood: turns mean and variance into a distribution.
        shape: S.
        scaling: how the state is scaled.
        constraint: the equality, or None.
    """

    def __init__(
        self,
        likelihood: LikelihoodSpec,
        shape: tuple[int, ...],
        *,
        scaling: Scaling,
        constraint: LinearEqualityConstraint | None,
    ) -> None:
        super().__init__()
        self.space = Standardisation(shape, scaling)
        self.likelihood = likelihood
        self.constraint = constraint

    def fit_blocks(self, blocks: Iterable[Float[Tensor, "N *S"]]) -> None:
        """Fits the scaling to the states of all blocks."""
        self.space.fit_blocks(blocks)

    def distribution(
        self, mean: Float[Tensor, "B n"], variance: Float[Tensor, "B n"], batch: dict[str, Tensor]
    ) -> PredictiveDistribution:
        """The distribution in the scaled space."""
        return self.likelihood.distribution(mean, variance, self._bound(batch))

    def loss(
        self,
        by: Supervision,
        mean: Float[Tensor, "B n"],
        variance: Float[Tensor, "B n"],
        batch: dict[str, Tensor],
    ) -> tuple[Float[Tensor, " B"], dict[str, Tensor]]:
        """The loss of each sample, and its terms."""
        target = self.space.encode(batch["state"]).flatten(1)
        return supervised_loss(by, mean, variance, self._bound(batch), target)

    def predict(
        self, mean: Float[Tensor, "B n"], variance: Float[Tensor, "B n"], batch: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """A sample, mean, standard deviation and log-likelihood of the true state, in the data's units.

        A likelihood without the constraint has a density in all coordinates. It is returned as
        `log_likelihood_free`, since it cannot be compared with a density on the feasible set.
        """
        mean, variance = mean.double(), variance.double()
        distribution = self.distribution(mean, variance, batch)
        shape = batch["state"].shape
        scale = self.space.scale.double()
        predicted = {
            "state": self.space.decode(distribution.sample().view(shape)),
            "predicted_mean": self.space.decode(distribution.mean.view(shape)),
            "predicted_std": scale * distribution.variance.sqrt().view(shape),
        }
        target = self.space.encode(batch["state"].double()).flatten(1)
        name = "log_likelihood" if self.likelihood.constrains() else "log_likelihood_free"
        predicted[name] = distribution.log_prob(target) - self._log_volume(batch)
        return predicted

    def _bound(self, batch: dict[str, Tensor]) -> LinearEqualityConstraint | None:
        """The equality in the scaled space, bound to the targets of the batch."""
        return None if self.constraint is None else self.space.equality(self.constraint).bind(batch)

    def _log_volume(self, batch: dict[str, Tensor]) -> Tensor:
        """The log of the factor by which volume on the support grows from the scaled space to the data's."""
        scale = self.space.scale.expand(batch["state"].shape[1:]).double().flatten()
        if not self.likelihood.constrains():
            return scale.log().sum()
        equality = self._bound(batch)
        assert equality is not None  # the spec ensures it
        rows = equality.independent.to(scale)
        ratio = rows.gram(scale**-2).logdet() - rows.unit_gram.logdet()
        return scale.log().sum() + 0.5 * ratio
