"""Photographs of many sizes: a square is cut from the middle of each and scaled down."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import numpy as np

from plumbline.datasets._images import ImagesSpec
from plumbline.spec import key


class PhotographsSpec(ImagesSpec):
    """Base of the datasets of encoded photographs."""

    crop: int | None = key("pixels", ge=1, default=None)
    """Side of the square that is cut from the middle; null for the largest."""
    size: int = key("pixels", ge=1, default=64)
    """Side that it is scaled to."""
    background: float | None = key(ge=0, le=1, default=None)
    """Grey behind transparent pixels, from 0 (black) to 1 (white); null refuses images that have such pixels."""

    def square(self, encoded: Path | BinaryIO, where: str) -> np.ndarray:
        """The middle of a photograph, (3, size, size), with values in [0, 1].

        Args:
            encoded: the file, or a stream of its content.
            where: what errors name it by.

        Raises:
            DataFileError: it is no whole image, or is one whose values have no certain meaning.
        """
        from PIL import Image

        from plumbline.datasets._images.decoding import decoded

        image = decoded(encoded, where, self.background)
        side = min(self.crop or min(image.size), *image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        square = image.crop((left, top, left + side, top + side))
        scaled = np.asarray(square.resize((self.size, self.size), Image.Resampling.LANCZOS))
        if image.mode == "F":
            # Lanczos' filter overshoots at edges, which eight bits cut off by themselves.
            return np.repeat(scaled.clip(0, 1)[None], 3, axis=0)
        return scaled.transpose(2, 0, 1) / 255
