"""A plain multilayer perceptron."""

from __future__ import annotations

from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "silu": nn.SiLU, "none": nn.Identity}


class Perceptron(nn.Module):
    """Fully connected layers from (*B, inputs) to (*B, width).

    Args:
        inputs: number of input features.
        width: features of each layer.
        layers: number of layers.
        activation: activation function after each layer, one of `ACTIVATIONS`.
    """

    def __init__(self, inputs: int, *, width: int = 32, layers: int = 2, activation: str = "silu") -> None:
        super().__init__()
        widths = [inputs, *[width] * layers]
        self.layers = nn.Sequential(
            *(
                layer
                for before, after in pairwise(widths)
                for layer in (nn.Linear(before, after), ACTIVATIONS[activation]())
            )
        )

    def forward(self, x: Float[Tensor, "*B C"]) -> Float[Tensor, "*B F"]:
        """The features."""
        return self.layers(x)
