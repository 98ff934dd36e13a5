r"""Ensembles of models that predict: the mixture of their laws (Lakshminarayanan, Pritzel, Blundell 2017).

With K members of means m_k, deviations s_k and densities p_k, alike likely,

    mean = mean_k m_k,    deviation^2 = mean_k (s_k^2 + m_k^2) - mean^2,    log p = log mean_k p_k.

A draw is that of a member, chosen anew for each sample. The mixture of laws on a feasible set lives on it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

LIKELIHOODS = ("log_likelihood", "log_likelihood_free")


class Ensemble:
    """Several models that predict, as one."""

    def __init__(self, members: Sequence[Any]) -> None:
        self.members = members

    def predict(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """What the members tell, of their mixture."""
        each = [member.predict(batch) for member in self.members]
        told = {name: torch.stack([one[name] for one in each]) for name in each[0]}
        count = len(batch["state"])
        chosen = torch.randint(len(each), (count,), device=told["state"].device)
        mixed = {"state": told["state"][chosen, torch.arange(count, device=chosen.device)]}
        if "predicted_mean" in told:
            mean = mixed["predicted_mean"] = told["predicted_mean"].mean(0)
            square = (told["predicted_std"].square() + told["predicted_mean"].square()).mean(0)
            mixed["predicted_std"] = (square - mean.square()).clamp(min=0).sqrt()
        for name in LIKELIHOODS:
            if name in told:
                mixed[name] = torch.logsumexp(told[name], 0) - math.log(len(each))
        return mixed
