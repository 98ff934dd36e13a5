"""Noisy measurements of selected entries of a state, and the residual of a state against them."""

from __future__ import annotations

import copy

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor


class Observation:
    """y = A x + noise * e for states x (B, ...), where A selects m entries of a flattened state.

    Args:
        chosen: the indices (m,) of the entries that A selects.
        noise: standard deviation of the noise.
        seed: seed of the noise.
        values: the measurements y (B, m); None until `of` takes them.
    """

    def __init__(
        self, chosen: np.ndarray, noise: float, seed: int, values: Float[Tensor, "B m"] | None = None
    ) -> None:
        self.chosen = torch.as_tensor(chosen)
        self.noise, self.seed = noise, seed
        self.values = values

    def of(self, state: Float[Tensor, "B *S"], samples: np.ndarray) -> Observation:
        """Measures true states.

        Args:
            state: the true states.
            samples: the indices (B,) of the states in the dataset, which seed their noise.
        """
        width = len(self.chosen)
        noise = np.stack([np.random.default_rng([self.seed, int(i)]).standard_normal(width) for i in samples])
        values = self.apply(state.double()) + self.noise * torch.as_tensor(noise, device=state.device)
        measured = copy.copy(self)
        measured.values = values
        return measured

    def to(self, device: str | torch.device) -> Observation:
        """The observation with its tensors on a device; itself if they are there."""
        chosen = self.chosen.to(device)
        values = None if self.values is None else self.values.to(device)
        if chosen is self.chosen and values is self.values:
            return self
        moved = copy.copy(self)
        moved.chosen, moved.values = chosen, values
        return moved

    def apply(self, x: Float[Tensor, "B *S"]) -> Float[Tensor, "B m"]:
        """A x."""
        return x.flatten(1)[:, self.chosen.to(x.device)]

    def residual(self, x: Float[Tensor, "B *S"]) -> Float[Tensor, "B m"]:
        """(y - A x) / noise, which is standard normal for the true state.

        Raises:
            ValueError: there are no measurements yet.
        """
        if self.values is None:
            raise ValueError(
                "there are no measurements, hence no residual: call `of` with the true states first."
            )
        return (self.values.to(x) - self.apply(x)) / self.noise
