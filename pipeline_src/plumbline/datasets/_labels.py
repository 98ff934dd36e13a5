"""What datasets tell of their samples beside the state, checked where it is read: classes, counts, attributes.

Samples are a dataset, or its variables as tensors by name, of which only those of numbers are there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


def class_labels(samples: Mapping[Any, Any], classes: int, where: str) -> np.ndarray:
    """The class of each sample, from 0 to `classes` - 1.

    Args:
        samples: with the variable `label`.
        classes: how many classes there are.
        where: the key that asks for them, which errors begin with.

    Raises:
        ValueError: there are no labels, or they are no such numbers, one a sample.
    """
    expected = f"expected a `label` (sample) of whole numbers from 0 to {classes - 1}"
    label = _one_each(samples, where, expected)
    if label.dtype.kind not in "iu":
        raise ValueError(
            f"`{where}`: {expected}, found labels of the type {label.dtype}: store them as whole numbers."
        )
    if (strange := np.flatnonzero((label < 0) | (label >= classes))).size:
        over = ", or raise the number of classes" if label.min() >= 0 else ""
        raise ValueError(
            f"`{where}`: {expected}, found {label[strange[0]]} in sample {strange[0]}, and {strange.size} such in all: "
            f"number the classes from 0 on{over}."
        )
    return label.astype(np.int64)


def counts(samples: Mapping[Any, Any], where: str) -> np.ndarray:
    """How many things each sample shows.

    Raises:
        ValueError: there are no labels, or they are no numbers from zero on, one a sample.
    """
    expected = "expected a `label` (sample) of numbers from 0 on"
    label = _one_each(samples, where, expected)
    if label.dtype.kind not in "iuf":
        raise ValueError(f"`{where}`: {expected}, found labels of the type {label.dtype}.")
    if (strange := np.flatnonzero(~(np.isfinite(label) & (label >= 0)))).size:
        raise ValueError(f"`{where}`: {expected}, found {label[strange[0]]} in sample {strange[0]}.")
    return label


def listed_attributes(samples: Mapping[Any, Any], where: str) -> np.ndarray:
    """Whether each sample has each attribute, ones and zeros (samples, attributes).

    Raises:
        ValueError: there are no attributes, or they are no ones and zeros.
    """
    expected = "expected `attributes` (sample, attribute) of ones and zeros"
    if "attributes" not in samples:
        raise ValueError(f"`{where}`: {expected}, and the dataset has none.")
    values = np.asarray(samples["attributes"])
    if values.ndim != 2 or values.dtype.kind not in "iufb":
        raise ValueError(f"`{where}`: {expected}, found {values.dtype} of the shape {values.shape}.")
    if (strange := np.argwhere((values != 0) & (values != 1))).size:
        sample, attribute = strange[0]
        raise ValueError(
            f"`{where}`: {expected}, found {values[sample, attribute]} in sample {sample}, attribute {attribute}."
        )
    return values.astype(np.int64)


def _one_each(samples: Mapping[Any, Any], where: str, expected: str) -> np.ndarray:
    if "label" not in samples:
        raise ValueError(f"`{where}`: {expected}, and the dataset has no `label` of numbers.")
    label = np.asarray(samples["label"])
    if label.ndim != 1:
        raise ValueError(
            f"`{where}`: {expected}, found the shape {label.shape}: of one-hot labels, store the place of the one."
        )
    return label
