"""Labels as an input beside others: a linear embedding, which is not there where there are no labels."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn


class LabelledInput(nn.Module):
    """The embedding of labels (B, C), as wide as the layers that read it.

    Attributes:
        numbers: numbers that it adds to the input, none for no labels.
    """

    def __init__(self, labels: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Linear(labels, width) if labels else None
        self.numbers = width if labels else 0

    def forward(self, y: Float[Tensor, "B C"]) -> list[Float[Tensor, "B W"]]:
        """The embedded labels, or nothing."""
        return [] if self.embedding is None else [self.embedding(y)]
