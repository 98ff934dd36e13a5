r"""Images that repeat one random texture.

The setting is that of Feng, Baptista and Bouman (ICLR 2025, https://arxiv.org/abs/2406.12816). The texture is
a Gaussian process with mean 1/2 and the periodic covariance

    k(p, q) = s^2 exp(-2 sin^2(pi (p_1 - q_1)) / l^2) exp(-2 sin^2(pi (p_2 - q_2)) / l^2)

on the unit square, whose first and last grid points coincide. It is clipped to [0, 1] or rounded to zero and
one, and repeated along both axes. The covariance is a product over the axes, so the texture is 1/2 + s F Z
F^T, where Z is white noise and F F^T is the correlation along one axis.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from plumbline.datasets import DatasetSpec
from plumbline.spec import key

if TYPE_CHECKING:
    import xarray as xr


class TilingsSpec(DatasetSpec):
    """Images of one random texture, repeated along both axes."""

    kind: Literal["tilings"] = "tilings"
    tile: int = key("pixels", ge=2, default=32)
    """Side of the texture."""
    rows: int = key(ge=1, default=2)
    """Number of repetitions along y."""
    columns: int = key(ge=1, default=2)
    """Number of repetitions along x."""
    std: float = key(gt=0, default=0.7)
    """Standard deviation s of the process."""
    length: float = key("sides of the texture", gt=0, default=0.7)
    """Correlation length l."""
    values: Literal["binary", "grey"] = "binary"
    """Whether values are rounded to zero and one (published) or clipped to this range."""

    def draw(self, indices: np.ndarray, splits: np.ndarray) -> xr.Dataset:
        import xarray as xr

        from plumbline.datasets._random import normals

        white = normals(self.seed, indices, self.tile**2).reshape(-1, self.tile, self.tile)
        factor = self._factor()
        texture = 0.5 + self.std * factor @ white @ factor.T
        texture = (texture > 0.5) if self.values == "binary" else texture.clip(0, 1)
        state = np.tile(texture.astype(np.float32), (1, self.rows, self.columns))
        attrs = {"units": "pixel", "positive": "down"}, {"units": "pixel"}
        return xr.Dataset(
            {"state": (("sample", "y", "x"), state, {"long_name": "brightness", "units": "1"})},
            coords={d: (d, np.arange(n), a) for d, n, a in zip("yx", state.shape[1:], attrs, strict=True)},
            attrs={"title": "Tilings of random textures"},
        )

    def _factor(self) -> np.ndarray:
        """F (tile, tile) such that F F^T is the correlation of the points of one axis, which is singular."""
        points = np.linspace(0, 1, self.tile)
        correlation = np.exp(-2 * (np.sin(np.pi * np.subtract.outer(points, points)) / self.length) ** 2)
        values, vectors = np.linalg.eigh(correlation)
        return vectors * np.sqrt(values.clip(min=0))
