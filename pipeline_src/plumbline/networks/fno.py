"""A Fourier neural operator for fields on a grid."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from plumbline.networks import GridNetworkSpec, SampleShape
from plumbline.spec import key

if TYPE_CHECKING:
    from plumbline.networks._fno import FourierNeuralOperator


class FNOSpec(GridNetworkSpec):
    """A Fourier neural operator (Li et al. 2021, https://arxiv.org/abs/2010.08895).

    It is modulated by the noise level and the condition. Its weights multiply the lowest Fourier modes, so
    that they apply at any resolution. Along axes that are not periodic, the field is extended by zeros, and
    the coordinate is a further input.
    """

    kind: Literal["fno"] = "fno"
    width: int = key("features", ge=2, default=32)
    """Features at each grid point."""
    modes: int = key("modes", ge=1, default=12)
    """Fourier modes along each axis that the weights multiply, with the mean as the first; at most what the
    grid resolves."""
    blocks: int = key(ge=1, default=4)
    """Number of blocks."""
    embedding: int = key(ge=8, default=64)
    """Dimension of the embedding of noise level and condition."""

    def build(self, sample: SampleShape) -> FourierNeuralOperator:
        from plumbline.networks._fno import FourierNeuralOperator

        return FourierNeuralOperator(
            sample,
            grid_dimensions=self.grid_dimensions,
            width=self.width,
            modes=self.modes,
            blocks=self.blocks,
            embedding=self.embedding,
        )
