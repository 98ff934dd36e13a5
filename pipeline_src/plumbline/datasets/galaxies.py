r"""Images of a known number of radio galaxies.

The simulator follows that of POLISH (Connor et al. 2022, https://arxiv.org/abs/2111.03249) with the settings
of Feng, Baptista and Bouman (ICLR 2025, https://arxiv.org/abs/2406.12816). A galaxy is an elliptical Gaussian
at a random pixel, more than `apart` pixels from the others. Its amplitude is uniform between 15 dB over the
background and 10, its width is Gamma(1.6) / 2 over the pixel scale and at least one pixel, its ellipticity is
Beta(1.7, 4.5), and its angle is uniform. The background is white noise of standard deviation 8.5, blurred
over four pixels. Each image is scaled to [0, 1]. For smaller images, widths and blur are reduced in
proportion, and the standard deviation of the blurred background is kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import model_validator

from plumbline.datasets import DatasetSpec
from plumbline.spec import key

if TYPE_CHECKING:
    import xarray as xr

PUBLISHED_POINTS = 128
"""Side of the published images, for which widths and blur are given."""
PIXEL_SCALE = 0.25
BACKGROUND, BLUR = 8.5, 4.0
LARGEST_AMPLITUDE, SMALLEST_OVER_NOISE = 10.0, 10 ** (15 / 20)
PROPOSALS = 64
"""Number of random positions that are proposed for a galaxy."""
NUMBERS_A_GALAXY = 2 * PROPOSALS + 4


class GalaxiesSpec(DatasetSpec):
    """Images of a fixed or a random number of galaxies, with this number as `label`."""

    kind: Literal["galaxies"] = "galaxies"
    points: int = key("pixels", ge=16, default=PUBLISHED_POINTS)
    """Side of an image."""
    count: int = key("galaxies", ge=0, default=8)
    """Number of galaxies in an image; the smallest number if `most` is given."""
    most: int | None = key("galaxies", ge=1, default=None)
    """Largest number of galaxies in an image, for a uniformly random number; null for always `count`."""
    apart: float = key("pixels", ge=0, default=5.0)
    """Distance that two galaxies must exceed."""

    @model_validator(mode="after")
    def _counts_in_order(self) -> GalaxiesSpec:
        if self.most is not None and self.most < self.count:
            raise ValueError(f"`most` must be at least `count`, found {self.most} and {self.count}")
        return self

    def draw(self, indices: np.ndarray, splits: np.ndarray) -> xr.Dataset:
        import xarray as xr
        from scipy.ndimage import gaussian_filter

        from plumbline.datasets._random import normals, uniforms

        n, most = self.points, self.most or self.count
        numbers = uniforms(self.seed, indices, 1 + max(most, 1) * NUMBERS_A_GALAXY)
        counts = self.count + np.floor(numbers[:, 0] * (most - self.count + 1)).astype(np.int64)
        galaxies = numbers[:, 1:].reshape(len(indices), -1, NUMBERS_A_GALAXY)
        white = normals(self.seed + 1, indices, n * n).reshape(-1, n, n)
        blur = BLUR * n / PUBLISHED_POINTS
        # Blurring over fewer pixels reduces the noise less; the factor gives the published standard deviation
        # on any grid.
        background = BACKGROUND * blur / BLUR * gaussian_filter(white, (0, blur, blur), mode="wrap")
        faintest = background.std((1, 2)) * SMALLEST_OVER_NOISE
        images = background + self._signal(galaxies[:, :most], counts, faintest)
        low, high = images.min((1, 2), keepdims=True), images.max((1, 2), keepdims=True)
        attrs = {"units": "pixel", "positive": "down"}, {"units": "pixel"}
        state = ((images - low) / (high - low)).astype(np.float32)
        return xr.Dataset(
            {
                "state": (("sample", "y", "x"), state, {"long_name": "brightness", "units": "1"}),
                "label": ("sample", counts, {"long_name": "number of galaxies"}),
            },
            coords={d: (d, np.arange(n), a) for d, a in zip("yx", attrs, strict=True)},
            attrs={"title": "Images of radio galaxies"},
        )

    def _signal(self, numbers: np.ndarray, counts: np.ndarray, faintest: np.ndarray) -> np.ndarray:
        """The sum of the galaxies of each image (N, n, n).

        Args:
            numbers: uniform random numbers (N, K, NUMBERS_A_GALAXY).
            counts: number of galaxies in each image (N,), at most K.
            faintest: smallest amplitude in each image (N,).
        """
        from scipy.special import betaincinv, gammaincinv

        n = self.points
        places = self._places(numbers[:, :, : 2 * PROPOSALS])
        bright, size, ellipticity, angle = np.moveaxis(numbers[:, :, 2 * PROPOSALS :], -1, 0)
        amplitude = faintest[:, None] + (LARGEST_AMPLITUDE - faintest[:, None]) * bright
        amplitude = np.where(np.arange(numbers.shape[1]) < counts[:, None], amplitude, 0.0)
        width = np.maximum(gammaincinv(1.6, size) * 0.5 / PIXEL_SCALE * n / PUBLISHED_POINTS, 1.0)
        ratio = np.sqrt(1 - betaincinv(1.7, 4.5, ellipticity))
        cos, sin = np.cos(np.pi * angle), np.sin(np.pi * angle)
        pixel = np.arange(n)
        signal = np.zeros((len(numbers), n, n))
        for k in range(numbers.shape[1]):
            column = [
                v[:, k, None, None]
                for v in (places[..., 0], places[..., 1], amplitude, width, ratio, cos, sin)
            ]
            y0, x0, a, w, q, c, s = column
            y, x = pixel[:, None] - y0, pixel[None, :] - x0
            along, across = (c * x + s * y) * q, (c * y - s * x) / q
            signal += a * np.exp(-(along**2 + across**2) / (2 * w**2))
        return signal

    def _places(self, numbers: np.ndarray) -> np.ndarray:
        """Pixels (N, K, 2): the first proposal far enough from the galaxies before, or the last proposal."""
        count, most = numbers.shape[:2]
        proposals = np.floor(numbers.reshape(count, most, PROPOSALS, 2) * self.points)
        places = np.empty((count, most, 2))
        for k in range(most):
            distance = np.linalg.norm(proposals[:, k, :, None] - places[:, None, :k], axis=-1)
            free = (distance > self.apart).all(-1)
            first = np.where(free.any(1), free.argmax(1), PROPOSALS - 1)
            places[:, k] = proposals[np.arange(count), k, first]
        return places
