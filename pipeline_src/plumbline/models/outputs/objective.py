"""The loss of a law under a linear equality: its objective, the fit of its variance, a penalty."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from plumbline.models.outputs import SupervisedLawSpec


def law_loss(
    spec: SupervisedLawSpec, mean: Tensor, variance: Tensor, constraint: Any, target: Tensor
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss (*B,) of the law of mean and variance (*B, n), and what it is made of, means over batch and coordinates.

    Beside that, `absolute_error`, of the law's mean: methods with different objectives can be compared by it.

    Args:
        spec: which law, which objective, which penalty.
        mean: the free mean.
        variance: the free variance.
        constraint: the equality, bound to this batch, or None.
        target: the true states (*B, n).
    """
    law, numbers = spec.law.law(mean, variance, constraint), target.shape[-1]
    loss = spec.objective.loss(law, target)
    terms = {"objective": loss.detach().mean() / numbers}
    terms["absolute_error"] = (law.mean.detach() - target).abs().mean()
    if spec.variance_apart():
        fit = -spec.law.law(mean.detach(), variance, constraint).log_prob(target)
        loss, terms["variance_fit"] = loss + fit, fit.detach().mean() / numbers
    if spec.penalty:
        shortfall = constraint.shortfall(mean).square().mean(-1).to(mean.dtype)
        loss, terms["penalty"] = loss + spec.penalty * shortfall, shortfall.detach().mean()
    return loss, terms
