r"""Synthetic images of accretion flows around a black hole, with the same total brightness.

Feng, Baptista and Bouman (ICLR 2025, https://arxiv.org/abs/2406.12816) use images of simulations that are not
public. These images replace them. Each is a ring of random radius R, width W and centre that is brighter
towards a position angle t_0, like the approaching side of a flow:

    I(r, t) ~ exp(-(r - R)^2 / (2 W^2)) (1 + a cos(t - t_0)) exp(s g),

The turbulence g is a Gaussian random field of unit variance whose power decreases as k^{-3}, so the
brightness is lognormal. Each image is scaled to the total brightness.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from plumbline.datasets._images import ImagesSpec
from plumbline.spec import key

if TYPE_CHECKING:
    import xarray as xr

SHAPE_NUMBERS = 6
"""Random numbers per sample for the ring: radius, width, asymmetry, angle and centre (2)."""


class AccretionSpec(ImagesSpec):
    """Rings and crescents of random radius, width, asymmetry, position angle and turbulence."""

    kind: Literal["accretion"] = "accretion"
    points: int = key("pixels", ge=8, default=64)
    """Side of an image, which covers [-1, 1]."""
    brightness: float | None = key("sum of values", gt=0, default=120.0)
    """Sum of the values of every image."""
    turbulence: float = key(ge=0, default=0.4)
    """Standard deviation s of the logarithm of the brightness that turbulence causes."""

    def draw(self, indices: np.ndarray, splits: np.ndarray) -> xr.Dataset:
        from plumbline.datasets._random import normals, uniforms

        n = self.points
        radius, width, asymmetry, angle, *centre = uniforms(self.seed, indices, SHAPE_NUMBERS).T[
            :, :, None, None
        ]
        radius, width, asymmetry = 0.35 + 0.25 * radius, 0.06 + 0.1 * width, 0.9 * asymmetry
        axis = (np.arange(n) + 0.5) / n * 2 - 1
        y = axis[:, None] - 0.1 * (2 * centre[0] - 1)
        x = axis[None, :] - 0.1 * (2 * centre[1] - 1)
        ring = np.exp(-((np.hypot(x, y) - radius) ** 2) / (2 * width**2))
        beamed = 1 + asymmetry * np.cos(np.arctan2(y, x) - 2 * np.pi * angle)
        white = normals(self.seed + 1, indices, n * n).reshape(-1, n, n)
        images = ring * beamed * np.exp(self.turbulence * self._field(white))
        return self.as_dataset(images, None, "Rings and crescents of accretion flows")

    def _field(self, white: np.ndarray) -> np.ndarray:
        """Gaussian random fields of unit variance and power k^{-3}, from white noise (N, n, n)."""
        n = self.points
        k = np.hypot(np.fft.fftfreq(n, 1 / n)[:, None], np.fft.rfftfreq(n, 1 / n)[None, :])
        amplitude = np.where(k > 0, k, np.inf) ** -1.5
        # A mode and its conjugate, which `rfft2` omits, both contribute to the variance.
        counted = np.where((np.arange(n // 2 + 1) == 0) | (np.arange(n // 2 + 1) * 2 == n), 1, 2)
        variance = (counted * amplitude**2).sum() / n**2
        return np.fft.irfft2(amplitude * np.fft.rfft2(white), s=(n, n)) / np.sqrt(variance)
