r"""The loss of a law under a linear equality: its objective, the fit of its variance, a penalty.

Outputs on a feasible set: a law in the scaled space, trained by an objective, told in the data's units.

With x = shift + d z, the equality A x = k is A diag(d) z = k - A shift, so that laws are formed in the space that
the network works in: projections are orthogonal there. Densities are told in the data's units, on the feasible set
against its own volume. From z to x that volume grows, with A' = A diag(d) of independent rows, by

    det(D^2)^{1/2} det(A' D^{-2} A'^T)^{1/2} / det(A' A'^T)^{1/2}.
"""

from __future__ import annotations

from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from plumbline.distributions.likelihoods import LikelihoodSpec
from plumbline.models._output_specs import Supervision
from plumbline.models._spaces import Scaling, Standardisation


def supervised_loss(
    by: Supervision, mean: Tensor, variance: Tensor, constraint: Any, target: Tensor
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss (*B,) of the law of mean and variance (*B, n), and what it is made of, means over batch and coordinates.

    Beside that, `absolute_error`, of the law's mean: methods with different objectives can be compared by it.

    Args:
        by: which law, which objective, which penalty.
        mean: the free mean.
        variance: the free variance.
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
        residual = constraint.independent_residual(mean).square().mean(-1).to(mean.dtype)
        loss, terms["penalty"] = loss + by.penalty * residual, residual.detach().mean()
    return loss, terms


class FeasibleOutput(nn.Module):
    """The law of samples (B, *S), given a mean and a variance for each coordinate of the scaled space.

    Args:
        law: how mean and variance become a distribution.
        shape: S.
        scaling: how the state is scaled.
        constraint: the equality, or None.
    """

    def __init__(
        self, likelihood: LikelihoodSpec, shape: tuple[int, ...], *, scaling: Scaling, constraint: Any
    ) -> None:
        super().__init__()
        self.space = Standardisation(shape, scaling)
        self.likelihood = likelihood
        self.constraint = constraint

    def fit(self, state: Float[Tensor, "N *S"]) -> None:
        """Fits the scaling."""
        self.space.fit(state)

    def distribution(
        self, mean: Float[Tensor, "B n"], variance: Float[Tensor, "B n"], batch: dict[str, Tensor]
    ) -> Any:
        """The law in the scaled space."""
        return self.likelihood.distribution(mean, variance, self._bound(batch))

    def loss(
        self,
        by: Supervision,
        mean: Float[Tensor, "B n"],
        variance: Float[Tensor, "B n"],
        batch: dict[str, Tensor],
    ) -> tuple[Float[Tensor, " B"], dict[str, Tensor]]:
        """The loss of each sample by the objective of `by`, and what it is made of."""
        target = self.space.encode(batch["state"]).flatten(1)
        return supervised_loss(by, mean, variance, self._bound(batch), target)

    def predict(
        self, mean: Float[Tensor, "B n"], variance: Float[Tensor, "B n"], batch: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """A draw, mean, deviation and log-likelihood of the true state, in the data's units.

        A law without the constraint has a density in all coordinates, which is told as `log_likelihood_free`: it is
        no number to compare with a density on the feasible set.
        """
        mean, variance = mean.double(), variance.double()
        distribution = self.distribution(mean, variance, batch)
        shape = batch["state"].shape
        scale = self.space.scale.double()
        told = {
            "state": self.space.decode(distribution.sample().view(shape)),
            "predicted_mean": self.space.decode(distribution.mean.view(shape)),
            "predicted_std": scale * distribution.variance.sqrt().view(shape),
        }
        target = self.space.encode(batch["state"].double()).flatten(1)
        name = "log_likelihood" if self.likelihood.constrains() else "log_likelihood_free"
        told[name] = distribution.log_prob(target) - self._log_volume(batch)
        return told

    def _bound(self, batch: dict[str, Tensor]) -> Any:
        """The equality in the scaled space, bound to the targets of the batch."""
        return None if self.constraint is None else self.space.equality(self.constraint).bind(batch)

    def _log_volume(self, batch: dict[str, Tensor]) -> Tensor:
        """log of how much a volume grows from the scaled space to the data's, where the law lives."""
        scale = self.space.scale.expand(batch["state"].shape[1:]).double().flatten()
        if not self.likelihood.constrains():
            return scale.log().sum()
        rows = self._bound(batch).independent.to(scale)
        ratio = rows.gram(scale**-2).logdet() - rows.unit_gram.logdet()
        return scale.log().sum() + 0.5 * ratio
