"""A folder of photographs, such as CelebA's aligned faces."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from plumbline.datasets.files import DataFileError
from plumbline.datasets.images.photographs import PhotographsSpec

if TYPE_CHECKING:
    import xarray as xr

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


class ImageFolderSpec(PhotographsSpec):
    """Images of a folder and those below it, in the order of their names, values in [0, 1]."""

    kind: Literal["image_folder"] = "image_folder"
    data_dir: str
    """The folder, such as CelebA's `img_align_celeba`."""

    def draw(self, indices: np.ndarray, splits: np.ndarray) -> xr.Dataset:
        del splits
        found = sorted(p for p in Path(self.data_dir).rglob("*") if p.suffix.lower() in SUFFIXES)
        if not found:
            raise DataFileError(
                f"{self.data_dir} holds no images ({', '.join(SUFFIXES)}): set `dataset.data_dir`."
            )
        # Files are read one by one: that is how image libraries decode.
        images = np.stack([self.square(found[i]) for i in self.choice(len(found), indices)])
        return self.as_dataset(images, None, f"images of {Path(self.data_dir).name}")
