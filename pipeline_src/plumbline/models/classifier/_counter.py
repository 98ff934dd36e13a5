r"""The counting network of Feng, Baptista and Bouman (ICLR 2025, https://arxiv.org/abs/2406.12816).

Two convolutions, each with a rectifier and average pooling by two, are followed by two linear layers. The
predicted count is smooth enough in the image to be a constraint for training other models. The loss is its
squared error.
"""

from __future__ import annotations

from collections.abc import Iterable

from jaxtyping import Float
from torch import Tensor, nn

from plumbline.datasets._labels import counts
from plumbline.models._preparing import PreparedInBlocks, SampleBlock, variable
from plumbline.networks import SampleShape
from plumbline.networks._blocks import grid_of, image_encoder


class Counter(PreparedInBlocks, nn.Module):
    """The counting network of Feng et al. (ICLR 2025, https://arxiv.org/abs/2406.12816) for images (B, *S).

    Args:
        sample: the shape of images.
        channels: channels of the first layer; the second has twice as many.
        features: number of features in the penultimate layer.
    """

    def __init__(self, sample: SampleShape, *, channels: int = 32, features: int = 256) -> None:
        super().__init__()
        self.grid = grid_of(sample)
        self.layers = nn.Sequential(*image_encoder(self.grid, channels, features), nn.Linear(features, 1))

    def prepare_in_blocks(self, blocks: Iterable[SampleBlock]) -> None:
        """Checks the labels; images are not standardised.

        Raises:
            ValueError: there are no labels, or they are not counts.
        """
        counts(variable(blocks, "label"), "counter")

    def count(self, x: Float[Tensor, "B *S"]) -> Float[Tensor, " B"]:
        """The predicted count, not rounded."""
        return self.layers(x.reshape(-1, *self.grid)).squeeze(1)

    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean squared error, and the mean absolute error."""
        error = self.count(batch["state"]) - batch["label"]
        loss = error.square().mean()
        return loss, {"squared_error": loss.detach(), "absolute_error": error.detach().abs().mean()}
