"""Features of a whole image: two convolutions, each with a rectifier and a halving by means, and a layer."""

from __future__ import annotations

from torch import nn


def image_reader(grid: tuple[int, int, int], channels: int, features: int) -> list[nn.Module]:
    """Layers from images (B, C, H, W) of the sizes `grid` to features (B, features), as published for counting.

    Args:
        grid: channels, height and width; height and width are at least four.
        channels: channels of the first convolution; the second has twice as many.
        features: numbers that are read off.
    """
    inputs, height, width = grid
    return [
        nn.Conv2d(inputs, channels, 3, padding=1),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Conv2d(channels, 2 * channels, 3, padding=1),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(2 * channels * (height // 4) * (width // 4), features),
        nn.ReLU(),
    ]
