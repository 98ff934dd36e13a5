"""Some numbers of a state, measured with noise, and how badly a state fits them."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor


class Observation:
    """y = A x + noise e for states x (B, ...), flattened, of which A picks m numbers.

    Args:
        chosen: the numbers that A picks.
        noise: standard deviation of the noise.
        seed: seed of the noise.
        values: y (B, m); None before `of`.
    """

    def __init__(
        self, chosen: np.ndarray, noise: float, seed: int, values: Float[Tensor, "B m"] | None = None
    ) -> None:
        self.chosen = torch.as_tensor(chosen)
        self.noise, self.seed = noise, seed
        self.values = values

    def of(self, state: Float[Tensor, "B *S"], samples: np.ndarray) -> Observation:
        """The observation of true states, whose indices in the dataset say which noise is theirs."""
        width = len(self.chosen)
        noise = np.stack([np.random.default_rng([self.seed, int(i)]).standard_normal(width) for i in samples])
        values = self.apply(state.double()) + self.noise * torch.as_tensor(noise, device=state.device)
        return Observation(self.chosen.numpy(), self.noise, self.seed, values)

    def apply(self, x: Float[Tensor, "B *S"]) -> Float[Tensor, "B m"]:
        """A x."""
        return x.flatten(1)[:, self.chosen.to(x.device)]

    def residual(self, x: Float[Tensor, "B *S"]) -> Float[Tensor, "B m"]:
        """(y - A x) over the noise: standard normal for the true state.

        Raises:
            ValueError: nothing was measured yet.
        """
        if self.values is None:
            raise ValueError("an observation without measurements has no residual: take it `of` true states.")
        return (self.values.to(x) - self.apply(x)) / self.noise
