"""MNIST: digits of 28 x 28 pixels, from the official IDX files, which are read from a folder or downloaded.

Source: LeCun, Bottou, Bengio and Haffner (1998), https://doi.org/10.1109/5.726791.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from plumbline.datasets._download import PublishedFile
from plumbline.datasets._images import LabelledImagesSpec
from plumbline.input_files import InputFile, ReadsFiles

if TYPE_CHECKING:
    import xarray as xr

MIRROR = "https://ossci-datasets.s3.amazonaws.com/mnist"
HASHES = {
    "train-images-idx3-ubyte.gz": (
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    ),
    "train-labels-idx1-ubyte.gz": (
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    ),
    "t10k-images-idx3-ubyte.gz": (
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    ),
    "t10k-labels-idx1-ubyte.gz": (
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
}
"""SHA-256 of each published file, and of its uncompressed content."""


def published(name: str) -> PublishedFile:
    """One of the four files, also found where torchvision saves it or under its name on Kaggle.

    Args:
        name: name of the file, a key of `HASHES`.
    """
    dotted = name.removesuffix(".gz").replace("-idx", ".idx")
    return PublishedFile(
        name, f"{MIRROR}/{name}", *HASHES[name], folders=("MNIST/raw", "raw"), names=(dotted,)
    )


class MNISTSpec(ReadsFiles, LabelledImagesSpec):
    """MNIST digits with values in [0, 1] and class labels."""

    kind: Literal["mnist"] = "mnist"
    files: Literal["train", "t10k"] = "train"
    """The 60,000 training images, or the 10,000 test images."""
    data_dir: str = "data"
    """Folder with the IDX files, gzipped or not, or with torchvision's `MNIST/raw`. Missing files are
    downloaded into it."""

    def input_files(self) -> tuple[InputFile, ...]:
        return tuple(file.as_input(self.data_dir) for file in self._published())

    def sample_bytes(self) -> int:
        return 4 * 28**2 + 8

    def _published(self) -> tuple[PublishedFile, PublishedFile]:
        """The files of the images and of their labels."""
        images, labels = f"{self.files}-images-idx3-ubyte.gz", f"{self.files}-labels-idx1-ubyte.gz"
        return published(images), published(labels)

    def draw(self, indices: np.ndarray, splits: np.ndarray) -> xr.Dataset:
        from plumbline.datasets._images.idx import read_idx

        images, labels = (read_idx(file.fetch(self.data_dir)) for file in self._published())
        chosen = self.choice_of(labels, indices)
        return self.as_dataset(images[chosen] / 255, labels[chosen], f"MNIST, {self.files} files")
