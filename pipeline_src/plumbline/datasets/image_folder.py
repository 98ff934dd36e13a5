"""A folder of photographs, such as CelebA's aligned faces or the classes of ImageNet, with labels where there are any.

The label of an image is an attribute of a table, as CelebA's `list_attr_celeba.txt` (the number of images, the names of the
attributes, and a line an image with its name and 1 or -1 for each attribute), or the same as a CSV file with the names in the
first line; or else the number of the folder that it is in, in the order of their names, as in ImageNet. Several attributes of the
table stand in `attributes` (samples, attributes).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import model_validator

from plumbline.datasets.files import DataFileError
from plumbline.datasets.images import LabelledImagesSpec
from plumbline.datasets.images.photographs import PhotographsSpec

if TYPE_CHECKING:
    import xarray as xr

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


class ImageFolderSpec(PhotographsSpec, LabelledImagesSpec):
    """Images of a folder and those below it, in the order of their names, values in [0, 1]."""

    kind: Literal["image_folder"] = "image_folder"
    data_dir: str
    """The folder, such as CelebA's `img_align_celeba`."""
    table: str | None = None
    """File of attributes, such as CelebA's `list_attr_celeba.txt`, or a CSV file; null for labels by folder."""
    attribute: str | None = None
    """Attribute of the table that is the label: 1 where an image has it, 0 where not."""
    attributes: tuple[str, ...] = ()
    """Attributes of the table that are told of each image beside the label."""

    @model_validator(mode="after")
    def _both_or_neither(self) -> ImageFolderSpec:
        if (self.table is None) != (self.attribute is None and not self.attributes):
            raise ValueError("`table` goes with `attribute` or `attributes`, and these with it")
        return self

    def draw(self, indices: np.ndarray, splits: np.ndarray) -> xr.Dataset:
        del splits
        found = sorted(p for p in Path(self.data_dir).rglob("*") if p.suffix.lower() in SUFFIXES)
        if not found:
            raise DataFileError(
                f"{self.data_dir} holds no images ({', '.join(SUFFIXES)}): set `dataset.data_dir`."
            )
        labels = self._by_table(found, (self.attribute,))[:, 0] if self.attribute else _by_folder(found)
        chosen = self.choice_of(labels, indices)
        # Files are read one by one: that is how image libraries decode.
        images = np.stack([self.square(found[i]) for i in chosen])
        told = labels[chosen] if self.attribute or labels.any() else None
        dataset = self.as_dataset(images, told, f"images of {Path(self.data_dir).name}")
        if self.attributes:
            several = self._by_table(found, self.attributes)[chosen]
            dataset["attributes"] = (("sample", "attribute"), several, {"long_name": "attributes"})
            dataset["attribute"] = ("attribute", list(self.attributes), {"long_name": "attribute"})
        return dataset

    def _by_table(self, found: list[Path], names: tuple[str, ...]) -> np.ndarray:
        """Whether each image has each attribute, ones and zeros (images, attributes).

        Raises:
            DataFileError: there is no such table, no such attribute in it, or no line for an image.
        """
        import pandas as pd

        path = Path(str(self.table))
        if not path.is_file():
            raise DataFileError(f"{path} is not there: set `dataset.table` to the file of attributes.")
        if path.suffix == ".csv":
            table = pd.read_csv(path, index_col=0)
        else:
            table = pd.read_csv(path, sep=r"\s+", skiprows=1)
        for name in names:
            if name not in table:
                raise DataFileError(f"{path} has no attribute {name!r}; it has {', '.join(table.columns)}.")
        images = [image.name for image in found]
        missing = sorted(set(images) - set(table.index))
        if missing:
            raise DataFileError(f"{path} has no line for {len(missing)} images, {missing[0]} among them.")
        return (table.loc[images, list(names)].to_numpy() > 0).astype(np.int64)


def _by_folder(found: list[Path]) -> np.ndarray:
    folders = sorted({image.parent for image in found})
    numbers = {folder: i for i, folder in enumerate(folders)}
    return np.array([numbers[image.parent] for image in found])
