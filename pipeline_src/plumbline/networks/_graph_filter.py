"""Graph filters with one and two layers; each system has its own weights."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn


class LinearFilter(nn.Module):
    """sum_k h_k S^k x of signals x (B, n).

    Args:
        systems: R, the number of systems, each with its own weights.
        taps: K, the number of powers of S, starting at S^0.

    Attributes:
        taps: h (R, K), zero at initialisation.
    """

    def __init__(self, systems: int, *, taps: int = 2) -> None:
        super().__init__()
        self.taps = nn.Parameter(torch.zeros(systems, taps))

    def forward(
        self, x: Float[Tensor, "B n"], shift: Float[Tensor, "B n n"], system: Int[Tensor, " B"]
    ) -> Float[Tensor, "B n"]:
        """The filtered signals."""
        powers = shifted(x, shift, self.taps.shape[1])
        return torch.einsum("bk,bkn->bn", self.taps[system], powers)


class TwoLayerFilter(nn.Module):
    """F^(-1/2) sum_f sum_k g_fk S^k tanh(sum_l h_fl S^l x) of signals x (B, n).

    Args:
        systems: R, the number of systems, each with its own weights.
        width: F, the number of filters in the first layer.
        taps: K, the number of powers of S, starting at S^0.

    Attributes:
        first: h (R, F, K).
        second: g (R, F, K).
    """

    def __init__(self, systems: int, *, width: int = 32, taps: int = 2) -> None:
        super().__init__()
        shape = (systems, width, taps)
        self.first, self.second = nn.Parameter(torch.randn(shape)), nn.Parameter(torch.randn(shape))

    def forward(
        self, x: Float[Tensor, "B n"], shift: Float[Tensor, "B n n"], system: Int[Tensor, " B"]
    ) -> Float[Tensor, "B n"]:
        """The filtered signals."""
        width, taps = self.first.shape[1:]
        hidden = torch.einsum("bfk,bkn->bfn", self.first[system], shifted(x, shift, taps)).tanh()
        # sum_k S^k (sum_f g_fk hidden_f) by Horner's rule, summing over the filters first.
        summed = torch.einsum("bfk,bfn->kbn", self.second[system], hidden)
        out = summed[-1]
        for k in range(taps - 2, -1, -1):
            out = summed[k] + torch.einsum("bij,bj->bi", shift, out)
        return out / width**0.5


def shifted(x: Float[Tensor, "B n"], shift: Float[Tensor, "B n n"], taps: int) -> Float[Tensor, "B K n"]:
    """S^k x for k = 0 ... K - 1."""
    powers = [x]
    for _ in range(taps - 1):
        powers.append(torch.einsum("bij,bj->bi", shift, powers[-1]))
    return torch.stack(powers, dim=1)
