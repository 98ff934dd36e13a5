"""A folder of photographs, such as CelebA's aligned faces or exported LSUN scenes: cut square and scaled down."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from plumbline.datasets.files import DataFileError
from plumbline.datasets.images import ImagesSpec
from plumbline.spec import key

if TYPE_CHECKING:
    import xarray as xr

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


class ImageFolderSpec(ImagesSpec):
    """Images of a folder and those below it, in the order of their names, values in [0, 1]."""

    kind: Literal["image_folder"] = "image_folder"
    data_dir: str
    """The folder: CelebA's `img_align_celeba`, or what LSUN's `data.py export` writes."""
    crop: int | None = key("pixels", ge=1, default=None)
    """Side of the square that is cut from the middle; null for the largest."""
    size: int = key("pixels", ge=1, default=64)
    """Side that it is scaled to."""

    def draw(self, indices: np.ndarray, splits: np.ndarray) -> xr.Dataset:
        del splits
        found = sorted(p for p in Path(self.data_dir).rglob("*") if p.suffix.lower() in SUFFIXES)
        if not found:
            raise DataFileError(
                f"{self.data_dir} holds no images ({', '.join(SUFFIXES)}): set `dataset.data_dir`."
            )
        # Files are read one by one: that is how image libraries decode.
        images = np.stack([self._square(found[i]) for i in self.choice(len(found), indices)])
        return self.as_dataset(images, None, f"images of {Path(self.data_dir).name}")

    def _square(self, path: Path) -> np.ndarray:
        """The middle of an image, (3, size, size)."""
        from PIL import Image

        with Image.open(path) as image:
            colour = image.convert("RGB")
            side = min(self.crop or min(colour.size), *colour.size)
            left, top = (colour.width - side) // 2, (colour.height - side) // 2
            square = colour.crop((left, top, left + side, top + side))
            scaled = square.resize((self.size, self.size), Image.Resampling.LANCZOS)
        return np.asarray(scaled).transpose(2, 0, 1) / 255
