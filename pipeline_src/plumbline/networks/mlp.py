"""A residual multilayer perceptron for tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from plumbline.networks import NetworkSpec, SampleShape
from plumbline.spec import key

if TYPE_CHECKING:
    from plumbline.networks._mlp import ResidualMLP


class MLPSpec(NetworkSpec):
    """Residual blocks modulated by the noise level and the condition."""

    kind: Literal["mlp"] = "mlp"
    width: int = key("features", ge=4, default=256)
    """Features of each block."""
    blocks: int = key(ge=1, default=4)
    """Number of residual blocks."""
    embedding: int = key(ge=8, default=64)
    """Dimension of the embedding of noise level and condition."""
    dropout: float = key(ge=0, lt=1, default=0.0)
    """Fraction of features dropped in training."""

    def build(self, sample: SampleShape) -> ResidualMLP:
        from plumbline.networks._mlp import ResidualMLP

        return ResidualMLP(
            sample, width=self.width, blocks=self.blocks, embedding=self.embedding, dropout=self.dropout
        )
