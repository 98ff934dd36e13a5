"""What a model is conditioned on, standardised."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from plumbline.models.spaces.standardisation import Standardisation


class StandardisedCondition(nn.Module):
    """The condition of a batch as a denoiser's keyword arguments; none where the dataset has none.

    Args:
        numbers: numbers in the condition, zero if there is none.
    """

    def __init__(self, numbers: int) -> None:
        super().__init__()
        self.space = Standardisation((numbers,), "coordinate") if numbers else None

    def fit(self, data: dict[str, Tensor]) -> None:
        """Fits the standardisation to the conditions of `data`."""
        if self.space is not None:
            self.space.fit(data["condition"])

    def arguments(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """`condition`, standardised and in the default precision, or nothing."""
        if self.space is None:
            return {}
        return {"condition": self.space.encode(batch["condition"]).to(torch.get_default_dtype())}
