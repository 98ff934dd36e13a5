"""Handwritten digits bundled with scikit-learn: 1,797 images of 8 x 8 pixels.

They are the test set of the UCI "Optical Recognition of Handwritten Digits"
(https://doi.org/10.24432/C50P49).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from plumbline.datasets._images import LabelledImagesSpec

if TYPE_CHECKING:
    import xarray as xr


class DigitsSpec(LabelledImagesSpec):
    """scikit-learn's digits with values in [0, 1] and class labels."""

    kind: Literal["digits"] = "digits"

    def draw(self, indices: np.ndarray, splits: np.ndarray) -> xr.Dataset:
        from sklearn.datasets import load_digits

        bundled = load_digits()
        chosen = self.choice_of(bundled.target, indices)
        return self.as_dataset(bundled.images[chosen] / 16, bundled.target[chosen], "digits of scikit-learn")
