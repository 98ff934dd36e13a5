"""What a trained classifier says of many samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

# Images that are classified together.
CHUNK = 1024


def class_probabilities(classifier: Any, states: np.ndarray) -> np.ndarray:
    """The probabilities (samples, classes) that a trained classifier gives."""
    return _in_chunks(states, lambda x: classifier.log_probabilities(x).exp())


def attribute_logits(classifier: Any, states: np.ndarray) -> np.ndarray:
    """The logits (samples, attributes) that a trained classifier of attributes gives."""
    return _in_chunks(states, classifier.logits)


def class_features(classifier: Any, states: np.ndarray) -> np.ndarray:
    """The features (samples, features) that a trained classifier tells classes or attributes by."""
    return _in_chunks(states, classifier.features)


def check_watched(watched: Sequence[int], classes: int, metric: str) -> None:
    """Refuses classes that the classifier does not tell.

    Raises:
        ValueError: one is none of its classes; the message names the metric.
    """
    if strange := [c for c in watched if not 0 <= c < classes]:
        raise ValueError(
            f"`watched` of `{metric}`: the classifier tells the classes 0 to {classes - 1}, and not {strange[0]}."
        )


def _in_chunks(states: np.ndarray, told: Callable[[Tensor], Tensor]) -> np.ndarray:
    import torch

    with torch.no_grad():
        parts = [
            told(torch.as_tensor(states[i : i + CHUNK], dtype=torch.float32))
            for i in range(0, len(states), CHUNK)
        ]
    return torch.cat(parts).double().numpy()
