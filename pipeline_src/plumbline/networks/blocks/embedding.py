"""Embedding of the noise level and of a condition, shared by the backbones."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn


class LevelEmbedding(nn.Module):
    """A vector for the noise level log(sigma/alpha), plus one for the condition.

    The level passes through random Fourier features of low frequency (Tancik et al. 2020) and a small network.

    Args:
        features: length of the vector, even.
        condition: numbers in the condition, zero if there is none.
    """

    frequencies: Tensor

    def __init__(self, features: int, condition: int) -> None:
        super().__init__()
        half = features // 2
        self.register_buffer("frequencies", math.pi * torch.logspace(-3, 0, half, base=2.0) * 2)
        self.level = nn.Sequential(nn.Linear(2 * half, features), nn.SiLU(), nn.Linear(features, features))
        self.condition = (
            nn.Sequential(nn.Linear(condition, features), nn.SiLU(), nn.Linear(features, features))
            if condition
            else None
        )

    def forward(
        self, level: Float[Tensor, "*B"], condition: Float[Tensor, "B C"] | None
    ) -> Float[Tensor, "#B F"]:
        """The embedding; one row where the level is a scalar and there is no condition."""
        phases = torch.atleast_1d(level)[:, None] / 4 * self.frequencies
        embedded = self.level(torch.cat([phases.sin(), phases.cos()], dim=-1))
        if self.condition is not None:
            if condition is None:
                raise ValueError("this network was built for a condition, and was given none.")
            embedded = embedded + self.condition(condition)
        return embedded
