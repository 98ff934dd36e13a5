"""A residual multilayer perceptron with the interface of a backbone."""

from __future__ import annotations

import math

from jaxtyping import Float
from torch import Tensor, nn

from plumbline.networks import SampleShape
from plumbline.networks._blocks import LevelEmbedding, refuse_field


class ModulatedBlock(nn.Module):
    """x + c MLP((1 + a) norm(x) + b), with a, b, c from the embedding (adaptive layer normalisation)."""

    def __init__(self, width: int, embedding: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulation = nn.Sequential(nn.SiLU(), nn.Linear(embedding, 3 * width))
        self.layers = nn.Sequential(
            nn.Linear(width, width), nn.SiLU(), nn.Dropout(dropout), nn.Linear(width, width)
        )

    def forward(self, x: Float[Tensor, "B W"], embedding: Float[Tensor, "#B F"]) -> Float[Tensor, "B W"]:
        """The block's output."""
        scale, shift, gate = self.modulation(embedding).chunk(3, dim=-1)
        return x + gate * self.layers((1 + scale) * self.norm(x) + shift)


class ResidualMLP(nn.Module):
    """A residual network over flattened samples (B, ...).

    Args:
        sample: the shape of samples.
        width: features of each block.
        blocks: number of residual blocks.
        embedding: dimension of the embedding of noise level and condition.
        dropout: fraction of features dropped in training.

    Raises:
        ValueError: the condition is a field.
    """

    def __init__(
        self,
        sample: SampleShape,
        *,
        width: int = 256,
        blocks: int = 4,
        embedding: int = 64,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        refuse_field(sample, "mlp")
        dim = math.prod(sample.shape)
        self.embedding = LevelEmbedding(embedding, sample.condition)
        self.entry = nn.Linear(dim, width)
        self.blocks = nn.ModuleList(ModulatedBlock(width, embedding, dropout) for _ in range(blocks))
        self.exit = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, sample.outputs * dim))
        self.shape = sample.output_shape

    def forward(
        self, x: Float[Tensor, "B *S"], level: Float[Tensor, "*B"], condition: Tensor | None = None
    ) -> Float[Tensor, "B *O"]:
        """The network's output, of the shape of `x`, or (B, outputs, *S) if there are several outputs."""
        embedding = self.embedding(level, condition)
        features = self.entry(x.flatten(1))
        for block in self.blocks:
            features = block(features, embedding)
        return self.exit(features).view(-1, *self.shape)
