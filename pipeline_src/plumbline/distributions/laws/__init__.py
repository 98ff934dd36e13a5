r"""Laws: how a mean and a variance a coordinate, as a network gives them, become a distribution of the state.

All but `independent` put it on the feasible set A z = k by a correction z + K (k - A z) of a free draw; they
differ in which coordinates give way (`plumbline.distributions.corrected_gaussian`). So one network, one head and
one training serve the constrained methods and their baselines alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from plumbline.spec import ByKind, Kind

if TYPE_CHECKING:
    from torch import Tensor


class LawSpec(Kind):
    """Base of the law kinds."""

    def law(self, mean: Tensor, variance: Tensor, constraint: Any) -> Any:
        """The distribution (*B, n) of mean (*B, n) and variance (*B, n) under a linear equality."""
        raise NotImplementedError

    def constrains(self) -> bool:
        """Whether the law lives on the feasible set."""
        return True

    def mean_uses_variance(self) -> bool:
        """Whether the law's mean depends on the variances, so that errors of the mean train them."""
        return False


AnyLaw = Annotated[LawSpec, ByKind()]
