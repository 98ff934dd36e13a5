"""A plain multilayer perceptron."""

from __future__ import annotations

from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn

from plumbline.networks.perceptron import PerceptronSpec

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "silu": nn.SiLU}


class Perceptron(nn.Module):
    """Fully connected layers from (*B, inputs) to (*B, features)."""

    def __init__(self, spec: PerceptronSpec, inputs: int) -> None:
        super().__init__()
        widths = [inputs, *[spec.width] * spec.layers]
        layers = [
            layer
            for before, after in pairwise(widths)
            for layer in (nn.Linear(before, after), ACTIVATIONS[spec.activation]())
        ]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Float[Tensor, "*B C"]) -> Float[Tensor, "*B F"]:
        """The features."""
        return self.layers(x)
