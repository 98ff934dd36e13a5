r"""A convolutional potential phi that is convex in its input, and its gradient.

    z_0     = s((Q_0 x)^2 + L_0 x)
    z_{k+1} = s(W_k z_k + (Q_{k+1} x)^2 + L_{k+1} x),    W_k >= 0
    phi(x)  = sum(V z_K),                                V >= 0

with convolutions Q, L, W, V and the leaky ReLU s, which is convex and increasing. Squares of linear maps are
convex, and so are their sums with non-negative weights and increasing convex functions of such sums. Hence
phi is convex and its gradient is monotone,

    (grad phi(x) - grad phi(x')) . (x - x') >= 0.

`project_weights` sets negative entries of W and V to zero; it must be called after every optimiser step.

Input-convex networks: Amos, Xu and Kolter (2017), https://arxiv.org/abs/1609.07152. As a mirror map: Feng,
Baptista and Bouman (2025), https://arxiv.org/abs/2406.12816.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from plumbline.networks import SampleShape
from plumbline.networks._blocks import AxisPadding, grid_of

# Upper bound of the initial values of the non-negative weights; small, so that the potential starts almost
# flat.
LARGEST_FIRST_WEIGHT = 1e-3


class InputConvexGradient(nn.Module):
    """grad phi of samples (B, *S); all dimensions before the grid count as channels.

    Args:
        sample: the shape of samples.
        filters: channels of the hidden layers.
        layers: number of hidden layers after the first.
        slope: slope of the leaky ReLU for negative values.
        padding: `by_axis` pads circularly along the periodic axes of the samples and with zeros along the
            others; `circular` pads circularly along all axes.
        potential: `sum` sums the last layer over all entries; `published` averages it over channels and
            columns and sums over rows.
    """

    def __init__(
        self,
        sample: SampleShape,
        *,
        filters: int = 32,
        layers: int = 3,
        slope: float = 0.2,
        padding: Literal["by_axis", "circular"] = "by_axis",
        potential: Literal["sum", "published"] = "sum",
    ) -> None:
        super().__init__()
        self.grid = grid_of(sample)
        self.slope, self.published = slope, potential == "published"
        self.padding = AxisPadding((1, 1), (True, True) if padding == "circular" else sample.periodic_axes(2))
        channels = self.grid[0]
        levels = range(layers + 1)
        self.quadratic = nn.ModuleList(nn.Conv2d(channels, filters, 3, bias=False) for _ in levels)
        self.linear = nn.ModuleList(nn.Conv2d(channels, filters, 3) for _ in levels)
        self.convex = nn.ModuleList(nn.Conv2d(filters, filters, 3, bias=False) for _ in levels[1:])
        self.last = nn.Conv2d(filters, channels, 3, bias=False)
        for weight in self._constrained():
            nn.init.uniform_(weight, 0.0, LARGEST_FIRST_WEIGHT)

    def potential(self, x: Float[Tensor, "B *S"]) -> Float[Tensor, " B"]:
        """phi(x)."""
        padded = self.padding(x.reshape(-1, *self.grid))
        first, *later = (
            quadratic(padded).square() + linear(padded)
            for quadratic, linear in zip(self.quadratic, self.linear, strict=True)
        )
        z = nn.functional.leaky_relu(first, self.slope)
        for convex, of_input in zip(self.convex, later, strict=True):
            z = nn.functional.leaky_relu(convex(self.padding(z)) + of_input, self.slope)
        last = self.last(self.padding(z))
        return last.mean((1, 3)).sum(1) if self.published else last.sum((1, 2, 3))

    def forward(
        self, x: Float[Tensor, "B *S"], level: Tensor | None = None, condition: Tensor | None = None
    ) -> Float[Tensor, "B *S"]:
        """grad phi(x), differentiable if gradients are enabled; noise level and condition are ignored."""
        recorded = torch.is_grad_enabled()
        with torch.enable_grad():
            inputs = x if recorded and x.requires_grad else x.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(self.potential(inputs).sum(), inputs, create_graph=recorded)
        return gradient

    @torch.no_grad()
    def project_weights(self) -> None:
        """Sets negative entries of W and V to zero."""
        for weight in self._constrained():
            weight.clamp_(min=0)

    def _constrained(self) -> list[nn.Parameter]:
        return [*self.convex.parameters(), *self.last.parameters()]
