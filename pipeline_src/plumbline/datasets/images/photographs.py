"""Photographs of many sizes: a square is cut from the middle of each and scaled down."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import numpy as np

from plumbline.datasets.images import ImagesSpec
from plumbline.spec import key


class PhotographsSpec(ImagesSpec):
    """Base of the datasets of encoded photographs."""

    crop: int | None = key("pixels", ge=1, default=None)
    """Side of the square that is cut from the middle; null for the largest."""
    size: int = key("pixels", ge=1, default=64)
    """Side that it is scaled to."""

    def square(self, encoded: Path | BinaryIO) -> np.ndarray:
        """The middle of a photograph, (3, size, size), with values in [0, 1]."""
        from PIL import Image

        with Image.open(encoded) as image:
            colour = image.convert("RGB")
            side = min(self.crop or min(colour.size), *colour.size)
            left, top = (colour.width - side) // 2, (colour.height - side) // 2
            square = colour.crop((left, top, left + side, top + side))
            scaled = square.resize((self.size, self.size), Image.Resampling.LANCZOS)
        return np.asarray(scaled).transpose(2, 0, 1) / 255
