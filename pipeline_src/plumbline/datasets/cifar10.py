"""CIFAR-10 (Krizhevsky 2009): 32 x 32 colour images from the official binary version."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from plumbline.datasets.files import own_file
from plumbline.datasets.images import LabelledImagesSpec

if TYPE_CHECKING:
    import xarray as xr

BATCHES = tuple(f"data_batch_{i}.bin" for i in range(1, 6))
RECORD = 1 + 3 * 32 * 32  # a label, then the red, green and blue planes


class CIFAR10Spec(LabelledImagesSpec):
    """CIFAR-10's training images, values in [0, 1], with their class."""

    kind: Literal["cifar10"] = "cifar10"
    data_dir: str = "data/cifar-10-batches-bin"
    """Folder of the unpacked `cifar-10-binary.tar.gz` of www.cs.toronto.edu/~kriz."""
    batches: tuple[str, ...] = BATCHES
    """Files that are read."""

    def draw(self, indices: np.ndarray, splits: np.ndarray) -> xr.Dataset:
        del splits
        read = [
            np.fromfile(own_file(self.data_dir, name, "a batch of the binary CIFAR-10"), np.uint8)
            for name in self.batches
        ]
        raw = np.concatenate(read)
        if raw.size % RECORD:
            raise ValueError(f"{self.data_dir}: the batches are cut short: records have {RECORD} bytes.")
        records = raw.reshape(-1, RECORD)
        records = records[self.choice_of(records[:, 0], indices)]
        images = records[:, 1:].reshape(-1, 3, 32, 32) / 255
        return self.as_dataset(images, records[:, 0], "CIFAR-10")
