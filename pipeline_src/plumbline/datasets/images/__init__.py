"""Images as samples, and the total brightness that a constraint fixes.

Photographs and digits differ in brightness. Where a study fixes it, each image is multiplied by the one number that
gives its values the total asked for; the data then satisfies the constraint to the rounding of its numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from plumbline.datasets import DatasetSpec
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
                raise ValueError("a black image cannot be scaled to a brightness.")
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

    def choice_of(self, labels: np.ndarray, indices: np.ndarray) -> np.ndarray:
        """Which images of these classes the samples with these indices are.

        Where classes are rare, validation and test split are the last of all images in random order: those of a dataset
        without rare classes that takes every image.

        Raises:
            ValueError: the splits ask for more images than there are.
        """
        there = (
            np.arange(len(labels)) if self.classes is None else np.flatnonzero(np.isin(labels, self.classes))
        )
        if not self.rare:
            return there[self.choice(len(there), indices)]
        order = there[np.random.default_rng(self.seed).permutation(len(there))]
        held = self.splits.validation + self.splits.test
        first, last = order[: len(order) - held], order[len(order) - held :]
        kept = np.ones(len(first), dtype=bool)
        for rare, share in self.rare.items():
            members = np.flatnonzero(labels[first] == rare)
            kept[members[round(share * len(members)) :]] = False
        self._require(int(kept.sum()) + len(last))
        return np.concatenate([first[kept][: self.splits.train], last])[indices]
