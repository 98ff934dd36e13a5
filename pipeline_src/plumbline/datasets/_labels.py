"""Checked access to the classes, counts and attributes of samples.

Samples are a dataset, or a mapping from names to tensors that contains its numeric variables.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


def class_labels(samples: Mapping[Any, Any], classes: int, where: str) -> np.ndarray:
    """The class of each sample, from 0 to `classes` - 1.

    Args:
        samples: samples with the variable `label`.
        classes: number of classes.
        where: path of the key that requires the labels; the error message begins with it.

    Raises:
        ValueError: there is no `label`, or it does not contain one such integer per sample.
    """
    expected = f"expected a `label` (sample) of integers from 0 to {classes - 1}"
    label = _one_each(samples, where, expected)
    if label.dtype.kind not in "iu":
        raise ValueError(
            f"`{where}`: {expected}, found labels of type {label.dtype}: store them as integers."
        )
    if (strange := np.flatnonzero((label < 0) | (label >= classes))).size:
        over = ", or raise the number of classes" if label.min() >= 0 else ""
        raise ValueError(
            f"`{where}`: {expected}, found {label[strange[0]]} in sample {strange[0]} ({strange.size} such "
            f"values in all): number the classes from 0{over}."
        )
    return label.astype(np.int64)


def counts(samples: Mapping[Any, Any], where: str) -> np.ndarray:
    """The number of objects in each sample.

    Args:
        samples: samples with the variable `label`.
        where: path of the key that requires the counts; the error message begins with it.

    Raises:
        ValueError: there is no `label`, or it does not contain one non-negative number per sample.
    """
    expected = "expected a `label` (sample) of non-negative numbers"
    label = _one_each(samples, where, expected)
    if label.dtype.kind not in "iuf":
        raise ValueError(f"`{where}`: {expected}, found labels of type {label.dtype}.")
    if (strange := np.flatnonzero(~(np.isfinite(label) & (label >= 0)))).size:
        raise ValueError(f"`{where}`: {expected}, found {label[strange[0]]} in sample {strange[0]}.")
    return label


def listed_attributes(samples: Mapping[Any, Any], where: str) -> np.ndarray:
    """Whether each sample has each attribute, as ones and zeros (samples, attributes).

    Args:
        samples: samples with the variable `attributes`.
        where: path of the key that requires the attributes; the error message begins with it.

    Raises:
        ValueError: there are no attributes, or they are not ones and zeros.
    """
    expected = "expected `attributes` (sample, attribute) of ones and zeros"
    if "attributes" not in samples:
        raise ValueError(f"`{where}`: {expected}, but the dataset has none.")
    values = np.asarray(samples["attributes"])
    if values.ndim != 2 or values.dtype.kind not in "iufb":
        raise ValueError(f"`{where}`: {expected}, found {values.dtype} of shape {values.shape}.")
    if (strange := np.argwhere((values != 0) & (values != 1))).size:
        sample, attribute = strange[0]
        raise ValueError(
            f"`{where}`: {expected}, found {values[sample, attribute]} in sample {sample}, attribute "
            f"{attribute}."
        )
    return values.astype(np.int64)


def _one_each(samples: Mapping[Any, Any], where: str, expected: str) -> np.ndarray:
    if "label" not in samples:
        raise ValueError(f"`{where}`: {expected}, but the dataset has no `label` with numbers.")
    label = np.asarray(samples["label"])
    if label.ndim != 1:
        raise ValueError(
            f"`{where}`: {expected}, found shape {label.shape}: store one-hot labels as the position of the "
            "one."
        )
    return label
