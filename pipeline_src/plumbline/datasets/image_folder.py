"""A folder of photographs, such as CelebA's aligned faces or the classes of ImageNet, with labels where there are any.

The label of an image is an attribute of a table, as CelebA's `list_attr_celeba.txt` (the number of images, the names of the
attributes, and a line an image with its name and 1 or -1 for each attribute), or the same as a CSV file with the names in the
first line; or else the number of the folder that it is in, in the order of their names, as in ImageNet. Several attributes of the
table stand in `attributes` (samples, attributes).

Folders named `train`, `val` or `validation`, and `test`, above all others, are splits: each split is drawn from its own folder, and one
that has none from images of `train` that are not trained on.
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
    """Images of a folder and those below it, in the order of their names, values in [0, 1]."""

    kind: Literal["image_folder"] = "image_folder"
    data_dir: str
    """The folder, such as CelebA's `img_align_celeba`. Links are followed; hidden files are left out."""
    table: str | None = None
    """File of attributes in UTF-8, such as CelebA's `list_attr_celeba.txt`, or a CSV file; null for labels by folder."""
    attribute: str | None = None
    """Attribute of the table that is the label: 1 where an image has it, 0 where not."""
    attributes: tuple[str, ...] = ()
    """Attributes of the table that are told of each image beside the label."""

    @model_validator(mode="after")
    def _both_or_neither(self) -> ImageFolderSpec:
        if (self.table is None) != (self.attribute is None and not self.attributes):
            raise ValueError("`table` goes with `attribute` or `attributes`, and these with it")
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
        # Files are read one by one: that is how image libraries decode.
        images = np.stack([self.square(found[i], str(found[i])) for i in chosen])
        told = labels[chosen] if self.attribute or labels.any() else None
        dataset = self.as_dataset(images, told, f"images of {Path(self.data_dir).name}")
        if self.attributes:
            several = self._by_table(found, self.attributes)[chosen]
            dataset["attributes"] = (("sample", "attribute"), several, {"long_name": "attributes"})
            dataset["attribute"] = ("attribute", list(self.attributes), {"long_name": "attribute"})
        return dataset

    def _by_table(self, found: list[Path], names: tuple[str, ...]) -> np.ndarray:
        """Whether each image has each attribute, ones and zeros (images, attributes)."""
        from plumbline.datasets._images.attribute_table import read_attribute_table

        table = read_attribute_table(Path(str(self.table)))
        return table.attributes_of(found, Path(self.data_dir), names)
