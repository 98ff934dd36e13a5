r"""A convolutional potential phi that is convex in its input, and its gradient.

    z_0     = s((Q_0 x)^2 + L_0 x)
    z_{k+1} = s(W_k z_k + (Q_{k+1} x)^2 + L_{k+1} x),    W_k >= 0
    phi(x)  = sum(V z_K),                                V >= 0

with convolutions Q, L, W, V and the leaky rectifier s, which is convex and increasing. Squares of linear maps are
convex; so are their sums with weights that are not negative, and an increasing convex function of such a sum. Hence phi
is convex and its gradient monotone,

    (grad phi(x) - grad phi(x')) . (x - x') >= 0.

`project_weights` keeps W and V from going negative; it must follow every optimiser step.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from plumbline.networks import SampleShape
from plumbline.networks._blocks import AxisPadding, grid_of

# Weights that must not be negative start between zero and this: the potential is flat at first.
LARGEST_FIRST_WEIGHT = 1e-3


class InputConvexGradient(nn.Module):
    """grad phi of samples (B, *S), whose dimensions before the grid are channels.

    Args:
        sample: the shape of samples.
        filters: channels of the hidden layers.
        layers: hidden layers after the first.
        slope: slope of the leaky rectifier for negative values.
        padding: `by_axis` is circular along the periodic axes of the samples and zero along the others, `circular` along all.
        potential: `sum` adds up the last layer, `published` the means over its rows.
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
        self.padding = AxisPadding((1, 1), (True, True) if padding == "circular" else sample.periodic)
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
        """grad phi(x), differentiable where gradients are recorded; noise level and condition play no part."""
        recorded = torch.is_grad_enabled()
        with torch.enable_grad():
            given = x if recorded and x.requires_grad else x.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(self.potential(given).sum(), given, create_graph=recorded)
        return gradient

    @torch.no_grad()
    def project_weights(self) -> None:
        """Cuts the weights that must not be negative off at zero."""
        for weight in self._constrained():
            weight.clamp_(min=0)

    def _constrained(self) -> list[nn.Parameter]:
        return [*self.convex.parameters(), *self.last.parameters()]
