r"""The optimal multipliers for sets that do not overlap, in closed form.

The model that minimises KL(q || p) + sum_i lambda_i KL(q_i || p) is the mixture (q + sum_i lambda_i q_i) / (1 + L), L = sum_i
lambda_i. If the sets are disjoint parts of the data with shares pi_i, their shares in the mixture are

    w_i = (pi_i + lambda_i) / (1 + L),    KL(q_i || p) = -log w_i,

so the threshold b_i asks for w_i >= exp(-b_i). With the constraints A active,

    L = (sum_A exp(-b_i) - sum_A pi_i) / (1 - sum_A exp(-b_i)),    lambda_i = exp(-b_i) (1 + L) - pi_i,

and A is found by adding what is violated: the more the active ones ask for, the less is left for the others.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from plumbline.models.multipliers.ascent import InfeasibleConstraintsError
from plumbline.models.multipliers.multipliers import Multipliers


class DisjointMultipliers(Multipliers):
    """Multipliers that are right from the start, if the sets are disjoint."""

    def fit(self, shares: Float[Tensor, " m"], thresholds: Float[Tensor, " m"]) -> None:
        """Sets them from the shares of the sets in the data and the thresholds."""
        self.values.copy_(disjoint_multipliers(shares, thresholds))


def disjoint_multipliers(shares: Float[Tensor, " m"], thresholds: Float[Tensor, " m"]) -> Float[Tensor, " m"]:
    """lambda (m,) for disjoint sets with these shares in the data, under thresholds in nats.

    Raises:
        InfeasibleConstraintsError: the shares asked for are the whole or more.
    """
    asked = torch.exp(-thresholds)
    active = asked > shares
    while True:
        wanted = (asked * active).sum()
        if wanted >= 1:
            raise InfeasibleConstraintsError(
                f"the thresholds {[round(float(b), 4) for b in thresholds]} ask for {float(wanted):.3g} of what is "
                f"generated together, which leaves nothing for the rest: raise them."
            )
        total = (wanted - (shares * active).sum()) / (1 - wanted)
        violated = asked > shares / (1 + total)
        if bool((violated & ~active).any()):
            active = active | violated
            continue
        return torch.where(active, asked * (1 + total) - shares, 0.0)
