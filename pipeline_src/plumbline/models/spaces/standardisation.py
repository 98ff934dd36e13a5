"""The affine map between the data's units and a space of zero mean and unit variance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

if TYPE_CHECKING:
    from plumbline.constraints._linear_equality import LinearEquality

Scaling = Literal["coordinate", "global", "largest", "none"]

# A coordinate that varies less than this share of its own size is a constant with rounding: it is not blown up to unit
# variance. Its size is its own, since coordinates may be in units that are many orders apart.
SMALLEST_SHARE = 1e-6


class Standardisation(nn.Module):
    """z = (x - mean) / scale, fitted to data once.

    Args:
        shape: shape of a sample.
        scaling: `coordinate` for a mean and a standard deviation a coordinate, `global` for one of each, `largest`
            for the largest absolute value of each coordinate, without a shift, `none` for the data's own units.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, shape: tuple[int, ...], scaling: Scaling) -> None:
        super().__init__()
        self.shape, self.scaling = shape, scaling
        self._equalities: dict[LinearEquality, LinearEquality] = {}
        self.register_load_state_dict_post_hook(lambda *_: self._equalities.clear())
        own = shape if scaling in ("coordinate", "largest") else (1,) * len(shape)
        self.register_buffer("mean", torch.zeros(own))
        self.register_buffer("scale", torch.ones(own))

    def fit(self, x: Float[Tensor, "N *S"]) -> None:
        """Sets mean and scale to those of the samples.

        A coordinate that does not vary is scaled by its size, and one that is zero by the largest scale of the others.
        """
        if self.scaling == "none":
            return
        axes = tuple(range(x.ndim)) if self.scaling == "global" else (0,)
        size = x.double().abs().amax(axes)
        if self.scaling == "largest":
            scale, mean = size, torch.zeros_like(size)
        else:
            deviation, mean = torch.std_mean(x.double(), dim=axes)
            scale = torch.where(deviation > SMALLEST_SHARE * size, deviation, size)
        scale = torch.where(scale > 0, scale, scale.max().clamp(min=1e-30))
        self.mean.copy_(mean.view_as(self.mean))
        self.scale.copy_(scale.view_as(self.scale))
        self._equalities.clear()

    def encode(self, x: Float[Tensor, "B *S"]) -> Float[Tensor, "B *S"]:
        """From the data's units to standardised ones."""
        return (x - self.mean.to(x.dtype)) / self.scale.to(x.dtype)

    def decode(self, z: Float[Tensor, "B *S"]) -> Float[Tensor, "B *S"]:
        """From standardised units to the data's."""
        return self.mean.to(z.dtype) + self.scale.to(z.dtype) * z

    def equality(self, constraint: LinearEquality) -> LinearEquality:
        """The equality of standardised samples, A diag(scale) z = k - A mean: kept until the scaling changes."""
        if constraint not in self._equalities:
            shift, scale = (t.expand(self.shape) for t in (self.mean, self.scale))
            self._equalities[constraint] = constraint.rescaled(shift, scale)
        return self._equalities[constraint]
