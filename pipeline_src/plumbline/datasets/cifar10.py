"""CIFAR-10: colour images of 32 x 32 pixels, from the official binary or Python version.

Source: Krizhevsky (2009), https://www.cs.toronto.edu/~kriz/cifar.html.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import model_validator

from plumbline.datasets._download import DataFileError, own_file
from plumbline.datasets._images import LabelledImagesSpec
from plumbline.input_files import InputFile, ReadsFiles

if TYPE_CHECKING:
    import xarray as xr

BATCHES = tuple(f"data_batch_{i}.bin" for i in range(1, 6))
FOLDERS = ("cifar-10-batches-bin", "cifar-10-batches-py")
"""Folders that the archives unpack to, as torchvision does below its root folder."""


class CIFAR10Spec(ReadsFiles, LabelledImagesSpec):
    """CIFAR-10 images with values in [0, 1] and class labels; by default the training images."""

    kind: Literal["cifar10"] = "cifar10"
    data_dir: str = "data/cifar-10-batches-bin"
    """Folder of the unpacked `cifar-10-binary.tar.gz` or `cifar-10-python.tar.gz` of
    www.cs.toronto.edu/~kriz, or its parent folder."""
    batches: tuple[str, ...] = BATCHES
    """Files to read; in the version for Python they are looked for without the suffix `.bin`."""

    @model_validator(mode="after")
    def _each_batch_once(self) -> CIFAR10Spec:
        if not self.batches or len(set(self.batches)) != len(self.batches):
            raise ValueError(f"`batches` must list files, each once, found {list(self.batches)}")
        return self

    def input_files(self) -> tuple[InputFile, ...]:
        return tuple(InputFile("data_dir", str(path), "a batch of CIFAR-10") for path in self._places())

    def draw(self, indices: np.ndarray, splits: np.ndarray) -> xr.Dataset:
        from plumbline.datasets._images.cifar import read_batch

        paths = self.paths()
        read = [read_batch(path) for path in paths]
        seen: dict[str, Path] = {}
        for path, batch in zip(paths, read, strict=True):
            content = hashlib.sha256(batch.tobytes()).hexdigest()
            if content in seen:
                raise DataFileError(
                    f"{seen[content]} and {path} contain the same images: list only one of them."
                )
            seen[content] = path
        records = np.concatenate(read)
        records = records[self.choice_of(records[:, 0], indices)]
        images = records[:, 1:].reshape(-1, 3, 32, 32) / 255
        return self.as_dataset(images, records[:, 0], "CIFAR-10")

    def sample_bytes(self) -> int:
        return 4 * 3 * 32**2 + 8

    def paths(self) -> list[Path]:
        """Paths of the batch files.

        Raises:
            DataFileError: a file does not exist.
        """
        return [own_file(str(path.parent), path.name, "a batch of CIFAR-10") for path in self._places()]

    def _places(self) -> list[Path]:
        """Paths of the batch files, which may not exist."""
        given = Path(self.data_dir)
        # torchvision's folder may be present where that of the binary version is not.
        beside = () if given.is_dir() else tuple(given.parent / name for name in FOLDERS)
        for folder in (given, *(given / name for name in FOLDERS), *beside):
            for suffix in ("", ".bin"):
                names = [name.removesuffix(suffix) for name in self.batches]
                if (folder / names[0]).is_file():
                    return [folder / name for name in names]
        return [given / name for name in self.batches]
