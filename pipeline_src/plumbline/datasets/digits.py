"""Handwritten digits, 8 x 8, that come with scikit-learn (UCI optical recognition test set): 1,797 images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from plumbline.datasets._images import LabelledImagesSpec

if TYPE_CHECKING:
    import xarray as xr


class DigitsSpec(LabelledImagesSpec):
    """scikit-learn's digits, values in [0, 1], with their class."""

    kind: Literal["digits"] = "digits"

    def draw(self, indices: np.ndarray, splits: np.ndarray) -> xr.Dataset:
        from sklearn.datasets import load_digits

        bundled = load_digits()
        chosen = self.choice_of(bundled.target, indices)
        return self.as_dataset(bundled.images[chosen] / 16, bundled.target[chosen], "digits of scikit-learn")
