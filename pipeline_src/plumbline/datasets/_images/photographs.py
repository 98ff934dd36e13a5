"""Photographs of different sizes: the central square of each is cropped and resized."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import numpy as np

from plumbline.datasets._images import ImagesSpec
from plumbline.spec import key


class PhotographsSpec(ImagesSpec):
    """Base class of the datasets of encoded photographs."""

    crop: int | None = key("pixels", ge=1, default=None)
    """Side of the central square that is cropped; null for the largest."""
    size: int = key("pixels", ge=1, default=64)
    """Side that the square is resized to."""
    background: float | None = key(ge=0, le=1, default=None)
    """Grey value behind transparent pixels, from 0 (black) to 1 (white); null refuses such images."""

    def sample_bytes(self) -> int:
        return 4 * 3 * self.size**2 + 8

    def square(self, encoded: Path | BinaryIO, where: str) -> np.ndarray:
        """The resized central square of a photograph, (3, size, size), with values in [0, 1].

        Args:
            encoded: the file, or a stream of its content.
            where: name of the image in error messages.

        Raises:
            DataFileError: the image cannot be decoded, or the meaning of its values is not certain.
        """
        from PIL import Image

        from plumbline.datasets._images.decoding import decoded

        image = decoded(encoded, where, self.background)
        side = min(self.crop or min(image.size), *image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        square = image.crop((left, top, left + side, top + side))
        scaled = np.asarray(square.resize((self.size, self.size), Image.Resampling.LANCZOS))
        if image.mode == "F":
            # The Lanczos filter overshoots at edges; images of eight bits are clipped anyway.
            return np.repeat(scaled.clip(0, 1)[None], 3, axis=0)
        return scaled.transpose(2, 0, 1) / 255
