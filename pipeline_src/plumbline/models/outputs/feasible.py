r"""Outputs on a feasible set: a law in the scaled space, trained by an objective, told in the data's units.

With x = shift + d z, the equality A x = k is A diag(d) z = k - A shift, so that laws are formed in the space that
the network works in: projections are orthogonal there. Densities are told in the data's units, on the feasible set
against its own volume. From z to x that volume grows, with A' = A diag(d) of independent rows, by

    det(D^2)^{1/2} det(A' D^{-2} A'^T)^{1/2} / det(A' A'^T)^{1/2}.
"""

from __future__ import annotations

from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from plumbline.distributions.likelihoods import LawSpec
from plumbline.models.outputs import SupervisedLawSpec
from plumbline.models.outputs.objective import law_loss
from plumbline.models.spaces.standardisation import Scaling, Standardisation


class FeasibleOutput(nn.Module):
    """The law of samples (B, *S), given a mean and a variance for each coordinate of the scaled space.

    Args:
        spec: the law.
        scaling: how the state is scaled.
        shape: S.
        constraint: the equality, or None.
    """

    def __init__(self, spec: LawSpec, scaling: Scaling, shape: tuple[int, ...], constraint: Any) -> None:
        super().__init__()
        self.space = Standardisation(shape, scaling)
        self.spec = spec
        self.constraint = constraint

    def fit(self, state: Float[Tensor, "N *S"]) -> None:
        """Fits the scaling."""
        self.space.fit(state)

    def law(
        self, mean: Float[Tensor, "B n"], variance: Float[Tensor, "B n"], batch: dict[str, Tensor]
    ) -> Any:
        """The law in the scaled space."""
        return self.spec.law(mean, variance, self._bound(batch))

    def loss(
        self,
        spec: SupervisedLawSpec,
        mean: Float[Tensor, "B n"],
        variance: Float[Tensor, "B n"],
        batch: dict[str, Tensor],
    ) -> tuple[Float[Tensor, " B"], dict[str, Tensor]]:
        """The loss of each sample by the objective of `spec`, and what it is made of."""
        target = self.space.encode(batch["state"]).flatten(1)
        return law_loss(spec, mean, variance, self._bound(batch), target)

    def predict(
        self, mean: Float[Tensor, "B n"], variance: Float[Tensor, "B n"], batch: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """A draw, mean, deviation and log-likelihood of the true state, in the data's units.

        A law without the constraint has a density in all coordinates, which is told as `log_likelihood_free`: it is
        no number to compare with a density on the feasible set.
        """
        mean, variance = mean.double(), variance.double()
        law = self.law(mean, variance, batch)
        shape = batch["state"].shape
        scale = self.space.scale.double()
        told = {
            "state": self.space.decode(law.sample().view(shape)),
            "predicted_mean": self.space.decode(law.mean.view(shape)),
            "predicted_deviation": scale * law.variance.sqrt().view(shape),
        }
        target = self.space.encode(batch["state"].double()).flatten(1)
        name = "log_likelihood" if self.spec.constrains() else "log_likelihood_free"
        told[name] = law.log_prob(target) - self._log_volume(batch)
        return told

    def _bound(self, batch: dict[str, Tensor]) -> Any:
        """The equality in the scaled space, bound to the targets of the batch."""
        return None if self.constraint is None else self.space.equality(self.constraint).given(batch)

    def _log_volume(self, batch: dict[str, Tensor]) -> Tensor:
        """log of how much a volume grows from the scaled space to the data's, where the law lives."""
        scale = self.space.scale.expand(batch["state"].shape[1:]).double().flatten()
        if not self.spec.constrains():
            return scale.log().sum()
        rows = self._bound(batch).independent.to(scale)
        ratio = rows.gram(scale**-2).logdet() - rows.unit_gram.logdet()
        return scale.log().sum() + 0.5 * ratio
