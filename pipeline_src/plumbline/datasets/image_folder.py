"""A folder of photographs, such as CelebA's aligned faces or the classes of ImageNet, with or without labels.

With a table of attributes, the label of an image is one of these attributes. The table has the format of
CelebA's `list_attr_celeba.txt` (the number of images, the names of the attributes, and one line per image
with its name and 1 or -1 for each attribute), or is a CSV file with the names in the first line. Without a
table, the label is the number of the image's folder, in the order of folder names, as in ImageNet. The
variable `attributes` (sample, attribute) holds several attributes of the table.

Top-level folders named `train`, `val` or `validation`, and `test` are splits. Each split is drawn from its
own folder. A split without a folder is drawn from images of `train` that are then not used for training.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import model_validator

from plumbline.datasets._images import LabelledImagesSpec
from plumbline.datasets._images.photographs import PhotographsSpec
from plumbline.input_files import InputFile, ReadsFiles

if TYPE_CHECKING:
    import xarray as xr


class ImageFolderSpec(ReadsFiles, PhotographsSpec, LabelledImagesSpec):
    """Images of a folder and its subfolders, with values in [0, 1]."""

    kind: Literal["image_folder"] = "image_folder"
    data_dir: str
    """Folder of images, such as CelebA's `img_align_celeba`. Links are followed, hidden files ignored."""
    table: str | None = None
    """UTF-8 file of attributes: CelebA's `list_attr_celeba.txt` or a CSV file; null for labels by folder."""
    attribute: str | None = None
    """Attribute of the table that is the label: 1 if an image has it, 0 if not."""
    attributes: tuple[str, ...] = ()
    """Attributes of the table to store in the variable `attributes`."""

    @model_validator(mode="after")
    def _both_or_neither(self) -> ImageFolderSpec:
        if (self.table is None) != (self.attribute is None and not self.attributes):
            raise ValueError("`table` requires `attribute` or `attributes`, and these require `table`")
        return self

    def input_files(self) -> tuple[InputFile, ...]:
        images = InputFile("data_dir", self.data_dir, "a folder of images")
        return (images, InputFile("table", self.table, "a table of attributes")) if self.table else (images,)

    def draw(self, indices: np.ndarray, splits: np.ndarray) -> xr.Dataset:
        from plumbline.datasets._images.folders import (
            classes_by_folder,
            common_folder,
            images_below,
            published_splits,
        )

        found = images_below(Path(self.data_dir))
        shared = common_folder(found)
        published = published_splits(found, shared)
        if self.attribute:
            labels = self._by_table(found, (self.attribute,))[:, 0]
        else:
            labels = classes_by_folder(found, shared, split_first=published is not None)
        chosen = self.choice_of(labels, indices, published)
        # Image libraries decode one file at a time.
        images = np.stack([self.square(found[i], str(found[i])) for i in chosen])
        classes = labels[chosen] if self.attribute or labels.any() else None
        dataset = self.as_dataset(images, classes, f"images of {Path(self.data_dir).name}")
        if self.attributes:
            several = self._by_table(found, self.attributes)[chosen]
            dataset["attributes"] = (("sample", "attribute"), several, {"long_name": "attributes"})
            dataset["attribute"] = ("attribute", list(self.attributes), {"long_name": "attribute"})
        return dataset

    def _by_table(self, found: list[Path], names: tuple[str, ...]) -> np.ndarray:
        """Whether each image has each attribute, as ones and zeros (images, attributes)."""
        from plumbline.datasets._images.attribute_table import read_attribute_table

        table = read_attribute_table(Path(str(self.table)))
        return table.attributes_of(found, Path(self.data_dir), names)
