"""A plain multilayer perceptron for regression."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from plumbline.networks import RegressorSpec
from plumbline.spec import key

if TYPE_CHECKING:
    from plumbline.networks._perceptron import Perceptron


class PerceptronSpec(RegressorSpec):
    """Fully connected layers with an activation after each."""

    kind: Literal["perceptron"] = "perceptron"
    width: int = key("features", ge=1, default=32)
    """Features of each layer."""
    layers: int = key(ge=1, default=2)
    """Number of layers."""
    activation: Literal["relu", "silu", "none"] = "silu"
    """Activation function after each layer; with `none`, the features are linear in the inputs."""

    def build(self, inputs: int) -> Perceptron:
        from plumbline.networks._perceptron import Perceptron

        return Perceptron(inputs, width=self.width, layers=self.layers, activation=self.activation)

    def features(self) -> int:
        return self.width
