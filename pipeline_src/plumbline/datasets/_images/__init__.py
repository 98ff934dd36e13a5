"""Images as samples, optionally scaled to a common total brightness.

Photographs and digits differ in brightness. If a study fixes the brightness by a constraint, each image is
multiplied by a factor so that its values have the required sum. The data then satisfies the constraint up to
rounding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field, model_validator

from plumbline.datasets import SPLITS, DatasetSpec
from plumbline.spec import key

if TYPE_CHECKING:
    import xarray as xr


class ImagesSpec(DatasetSpec):
    """Base class of the image datasets: a random selection of the available images."""

    brightness: float | None = key("sum of values", gt=0, default=None)
    """Sum of the values that every image is scaled to, from values in [0, 1]; null for no scaling."""

    def choice(self, available: int, indices: np.ndarray) -> np.ndarray:
        """Numbers of the images that the samples with these indices are.

        Args:
            available: number of available images.
            indices: indices of the samples.

        Raises:
            ValueError: the splits require more images than there are.
        """
        self._require(available)
        return np.random.default_rng(self.seed).permutation(available)[indices]

    def as_dataset(self, images: np.ndarray, labels: np.ndarray | None, title: str) -> xr.Dataset:
        """The dataset of these images, scaled to `brightness` if it is given.

        Args:
            images: values in [0, 1], (N, H, W) or (N, 3, H, W).
            labels: class of each image (N,); None if there are no classes.
            title: title of the dataset.

        Raises:
            ValueError: an image is black and cannot be scaled.
        """
        import xarray as xr

        values = images.astype(np.float64)
        if self.brightness is not None:
            totals = values.reshape(len(values), -1).sum(1)
            if not (totals > 0).all():
                raise ValueError(
                    f"`brightness`: {int((totals <= 0).sum())} of {len(totals)} images are black and cannot "
                    "be scaled."
                )
            values *= (self.brightness / totals).reshape(-1, *(1,) * (values.ndim - 1))
        grid = ("y", "x")
        dims = ("sample", *(("channel",) if images.ndim == 4 else ()), *grid)
        state = (dims, values.astype(np.float32), {"long_name": "brightness", "units": "1"})
        attrs = {"units": "pixel", "positive": "down"}, {"units": "pixel"}
        coords = {d: (d, np.arange(n), own) for d, n, own in zip(grid, images.shape[-2:], attrs, strict=True)}
        dataset = xr.Dataset({"state": state}, coords=coords, attrs={"title": title})
        if labels is not None:
            dataset["label"] = ("sample", labels.astype(np.int64), {"long_name": "class"})
        return dataset

    def _require(self, available: int) -> None:
        if self.splits.total > available:
            raise ValueError(
                f"there are {available} images, and `splits` ask for {self.splits.total}: lower them."
            )


class LabelledImagesSpec(ImagesSpec):
    """Base class of the image datasets with classes, some of which can be made rare in the train split."""

    rare: dict[int, Annotated[float, Field(ge=0, le=1)]] = key(default_factory=dict)
    """Fraction of the images of a class, by class number, in the train split; one for other classes."""

    classes: tuple[int, ...] | None = None
    """Numbers of the classes to use; null for all."""

    @model_validator(mode="after")
    def _each_class_once(self) -> LabelledImagesSpec:
        if self.classes is not None and len(set(self.classes)) != len(self.classes):
            raise ValueError(f"`classes` names a class twice: {list(self.classes)}")
        return self

    def choice_of(
        self, labels: np.ndarray, indices: np.ndarray, published: np.ndarray | None = None
    ) -> np.ndarray:
        """Numbers of the images of the chosen classes that the samples with these indices are.

        If classes are rare, the validation and test splits are the last of all images in random order. These
        are the validation and test splits of a dataset without rare classes that uses every image.

        Args:
            labels: class of each available image.
            indices: indices of the samples.
            published: split of each available image, if the source has splits. If one of them is missing, it
                is taken from the images of the train split, which are then not used for training.

        Raises:
            ValueError: the splits require more images than there are, or a class has no images.
        """
        for name, wanted in (("classes", self.classes or ()), ("rare", self.rare)):
            if absent := sorted(set(wanted) - set(labels.tolist())):
                known = sorted(set(labels.tolist()))
                raise ValueError(
                    f"`{name}`: no image has the class {absent[0]}; there are the classes {_shown(known)}."
                )
        there = (
            np.arange(len(labels)) if self.classes is None else np.flatnonzero(np.isin(labels, self.classes))
        )
        if published is not None:
            return self._published(there, labels, published)[indices]
        if not self.rare:
            return there[self.choice(len(there), indices)]
        order = there[np.random.default_rng(self.seed).permutation(len(there))]
        held = self.splits.validation + self.splits.test
        first, last = order[: len(order) - held], order[len(order) - held :]
        first = self._thinned(first, labels)
        self._require(len(first) + len(last))
        return np.concatenate([first[: self.splits.train], last])[indices]

    def _published(self, there: np.ndarray, labels: np.ndarray, published: np.ndarray) -> np.ndarray:
        """Numbers of the images of all samples, split by split."""
        order = there[np.random.default_rng(self.seed).permutation(len(there))]
        pools = {split: order[published[order] == split] for split in SPLITS}
        for split in SPLITS[1:]:
            if not len(pools[split]):
                cut = max(len(pools["train"]) - getattr(self.splits, split), 0)
                pools["train"], pools[split] = pools["train"][:cut], pools["train"][cut:]
        pools["train"] = self._thinned(pools["train"], labels)
        for split, pool in pools.items():
            wanted = getattr(self.splits, split)
            if len(pool) < wanted:
                raise ValueError(
                    f"`splits.{split}`: there are {len(pool)} images for this split, and {wanted} are "
                    "required: lower it."
                )
        return np.concatenate([pools[split][: getattr(self.splits, split)] for split in SPLITS])

    def _thinned(self, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """The images of the train split without those of rare classes that exceed their fraction."""
        kept = np.ones(len(images), dtype=bool)
        for rare, fraction in self.rare.items():
            members = np.flatnonzero(labels[images] == rare)
            kept[members[round(fraction * len(members)) :]] = False
        return images[kept]


def _shown(classes: list[int]) -> str:
    return ", ".join(map(str, classes[:20])) + (", ..." if len(classes) > 20 else "")
