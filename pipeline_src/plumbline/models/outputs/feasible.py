r"""Outputs on a feasible set: a law in the scaled space, trained by an objective, told in the data's units.

With x = shift + d z, the equality A x = k is A diag(d) z = k - A shift, so that laws are formed in the space that
the network works in: projections are orthogonal there. Densities are told in the data's units, on the feasible set
against its own volume. From z to x that volume grows, with A' = A diag(d) of independent rows, by

    det(D^2)^{1/2} det(A' D^{-2} A'^T)^{1/2} / det(A' A'^T)^{1/2}.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from plumbline.models.outputs import FeasibleModelSpec
from plumbline.models.spaces.standardisation import Standardisation


class FeasibleOutput(nn.Module):
    """The law of samples (B, *S), given a mean and a variance for each coordinate of the scaled space.

    Args:
        spec: the law, its objective and the scaling.
        shape: S.
        constraint: the equality, or None.
    """

    def __init__(self, spec: FeasibleModelSpec, shape: tuple[int, ...], constraint: Any) -> None:
        super().__init__()
        self.space = Standardisation(shape, spec.scaling)
        self.law_spec, self.objective, self.penalty = spec.law, spec.objective, spec.penalty
        self.constraint = constraint
        self._scaled: Any = None

    @property
    def variance_apart(self) -> bool:
        """Whether the variance is fitted to residuals by itself: nothing else trains it."""
        return self.objective.fits_variance() and not self.law_spec.mean_uses_variance()

    def fit(self, state: Float[Tensor, "N *S"]) -> None:
        """Fits the scaling."""
        self.space.fit(state)
        self._scaled = None

    def law(self, mean: Float[Tensor, "B n"], variance: Float[Tensor, "B n"], batch: dict[str, Tensor]) -> Any:
        """The law in the scaled space."""
        return self.law_spec.law(mean, variance, self._bound(batch))

    def loss(
        self, mean: Float[Tensor, "B n"], variance: Float[Tensor, "B n"], batch: dict[str, Tensor]
    ) -> tuple[Float[Tensor, " B"], dict[str, Tensor]]:
        """The loss of each sample, and what it is made of."""
        target = self.space.encode(batch["state"]).flatten(1)
        objective = self.objective.loss(self.law(mean, variance, batch), target)
        loss, terms = objective, {"objective": objective.detach().mean()}
        if self.variance_apart:
            fit = -self.law(mean.detach(), variance, batch).log_prob(target)
            loss, terms["variance_fit"] = loss + fit, fit.detach().mean()
        if self.penalty:
            shortfall = self._bound(batch).shortfall(mean).square().mean(-1).to(mean.dtype)
            loss, terms["penalty"] = loss + self.penalty * shortfall, shortfall.detach().mean()
        return loss, terms

    def predict(
        self, mean: Float[Tensor, "B n"], variance: Float[Tensor, "B n"], batch: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """A draw, mean, deviation and log-likelihood of the true state, in the data's units.

        Without a law on the feasible set there is no likelihood there, and none is told.
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
        if self.law_spec.constrains():
            target = self.space.encode(batch["state"].double()).flatten(1)
            told["log_likelihood"] = law.log_prob(target) - self._log_volume(batch)
        return told

    def _bound(self, batch: dict[str, Tensor]) -> Any:
        """The equality in the scaled space, bound to the targets of the batch."""
        if self.constraint is None:
            return None
        if self._scaled is None:
            shape = batch["state"].shape[1:]
            self._scaled = self.constraint.rescaled(*(t.expand(shape) for t in (self.space.mean, self.space.scale)))
        return self._scaled.given(batch)

    def _log_volume(self, batch: dict[str, Tensor]) -> Tensor:
        bound = self._bound(batch)
        scale = self.space.scale.expand(batch["state"].shape[1:]).double().flatten()
        rows = bound.independent.to(scale)
        ratio = rows.gram(scale**-2).logdet() - rows.gram(torch.ones_like(scale)).logdet()
        return scale.log().sum() + 0.5 * ratio
