r"""Ensembles of predictive models: the mixture of their distributions.

With K equally likely members with means m_k, standard deviations s_k and densities p_k, the mixture has

    mean = mean_k m_k,    std^2 = mean_k (s_k^2 + m_k^2) - mean^2,    log p = log mean_k p_k.

Each sample is drawn from one member, chosen at random. If every member's distribution is supported on the
feasible set, so is the mixture.

Source: Lakshminarayanan, Pritzel, Blundell (NeurIPS 2017), https://arxiv.org/abs/1612.01474.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from plumbline.samplers import Predictive

LIKELIHOODS = ("log_likelihood", "log_likelihood_free")


class Ensemble:
    """Several predictive models, used as one.

    Args:
        members: the models.
    """

    def __init__(self, members: Sequence[Predictive]) -> None:
        self.members = members

    def predict(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The predictions of the mixture, with the names and shapes of a member's (see `Predictive`)."""
        each = [member.predict(batch) for member in self.members]
        predictions = {name: torch.stack([one[name] for one in each]) for name in each[0]}
        count = len(batch["state"])
        chosen = torch.randint(len(each), (count,), device=predictions["state"].device)
        mixed = {"state": predictions["state"][chosen, torch.arange(count, device=chosen.device)]}
        if "predicted_mean" in predictions:
            mean = mixed["predicted_mean"] = predictions["predicted_mean"].mean(0)
            square = (predictions["predicted_std"].square() + predictions["predicted_mean"].square()).mean(0)
            mixed["predicted_std"] = (square - mean.square()).clamp(min=0).sqrt()
        for name in LIKELIHOODS:
            if name in predictions:
                mixed[name] = torch.logsumexp(predictions[name], 0) - math.log(len(each))
        return mixed
