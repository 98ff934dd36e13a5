"""Images as samples, and the total brightness that a constraint fixes.

Photographs and digits differ in brightness. Where a study fixes it, each image is multiplied by the one number that
gives its values the total asked for; the data then satisfies the constraint to the rounding of its numbers.
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
    """Base of the image datasets: a random choice, by the seed, of the images there are."""

    brightness: float | None = key("sum of values", gt=0, default=None)
    """Sum of the values, in [0, 1] before, that every image is scaled to; null leaves them as they are."""

    def choice(self, available: int, indices: np.ndarray) -> np.ndarray:
        """Which images the samples with these indices are.

        Raises:
            ValueError: the splits ask for more images than there are.
        """
        self._require(available)
        return np.random.default_rng(self.seed).permutation(available)[indices]

    def as_dataset(self, images: np.ndarray, labels: np.ndarray | None, title: str) -> xr.Dataset:
        """Images (N, H, W) or (N, 3, H, W) with values in [0, 1], and a class each."""
        import xarray as xr

        values = images.astype(np.float64)
        if self.brightness is not None:
            totals = values.reshape(len(values), -1).sum(1)
            if not (totals > 0).all():
                raise ValueError(
                    f"`brightness`: {int((totals <= 0).sum())} of {len(totals)} images are black, and cannot be scaled."
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
    """Base of the image datasets with classes, of which some may be rare in the train split."""

    rare: dict[int, Annotated[float, Field(ge=0, le=1)]] = key(default_factory=dict)
    """Share of the images of a class, by its number, that the train split may take; of classes not named, all."""

    classes: tuple[int, ...] | None = None
    """Classes that there are, by their numbers; null for all."""

    @model_validator(mode="after")
    def _each_class_once(self) -> LabelledImagesSpec:
        if self.classes is not None and len(set(self.classes)) != len(self.classes):
            raise ValueError(f"`classes` names a class twice: {list(self.classes)}")
        return self

    def choice_of(
        self, labels: np.ndarray, indices: np.ndarray, published: np.ndarray | None = None
    ) -> np.ndarray:
        """Which images of these classes the samples with these indices are.

        Where classes are rare, validation and test split are the last of all images in random order: those of a dataset
        without rare classes that takes every image.

        Args:
            labels: the class of each image there is.
            indices: of the samples.
            published: the split of each image, where the source has splits. A split that it lacks is made of images of
                the train split that are then not trained on.

        Raises:
            ValueError: the splits ask for more images than there are, or a class has none.
        """
        for name, wanted in (("classes", self.classes or ()), ("rare", self.rare)):
            if absent := sorted(set(wanted) - set(labels.tolist())):
                known = sorted(set(labels.tolist()))
                raise ValueError(
                    f"`{name}`: no image is of the class {absent[0]}; there are {_shown(known)}."
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
        """The images of all samples, split by split."""
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
                    f"`splits.{split}`: there are {len(pool)} images for it, and it asks for {wanted}: lower it."
                )
        return np.concatenate([pools[split][: getattr(self.splits, split)] for split in SPLITS])

    def _thinned(self, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Those of the images of the train split that are left where classes are rare."""
        kept = np.ones(len(images), dtype=bool)
        for rare, fraction in self.rare.items():
            members = np.flatnonzero(labels[images] == rare)
            kept[members[round(fraction * len(members)) :]] = False
        return images[kept]


def _shown(classes: list[int]) -> str:
    return ", ".join(map(str, classes[:20])) + (", ..." if len(classes) > 20 else "")
