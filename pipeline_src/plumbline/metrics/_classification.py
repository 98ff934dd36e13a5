"""Probabilities, logits and features of samples under a trained classifier, in chunks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from plumbline.metrics import EvaluationContext
from plumbline.models import AttributePredicting, Classifying, FeatureExtracting

if TYPE_CHECKING:
    from torch import Tensor

# Number of images per forward pass.
CHUNK = 1024


def class_probabilities(classifier: Classifying, states: np.ndarray, by: EvaluationContext) -> np.ndarray:
    """The class probabilities (samples, classes) that a trained classifier predicts."""
    return _in_chunks(states, lambda x: classifier.log_probabilities(x).exp(), by)


def attribute_logits(
    classifier: AttributePredicting, states: np.ndarray, by: EvaluationContext
) -> np.ndarray:
    """The logits (samples, attributes) that a trained attribute classifier predicts."""
    return _in_chunks(states, classifier.logits, by)


def class_features(classifier: FeatureExtracting, states: np.ndarray, by: EvaluationContext) -> np.ndarray:
    """The features (samples, F) that a trained classifier computes before its output layer."""
    return _in_chunks(states, classifier.features, by)


def check_watched(watched: Sequence[int], classes: int, metric: str) -> None:
    """Checks that the classifier has all watched classes.

    Raises:
        ValueError: the classifier does not have one of them; the message names the metric.
    """
    if unknown := [c for c in watched if not 0 <= c < classes]:
        raise ValueError(
            f"`watched` of `{metric}`: the classifier has no class {unknown[0]}; "
            f"its classes are 0 to {classes - 1}."
        )


def _in_chunks(states: np.ndarray, predict: Callable[[Tensor], Tensor], by: EvaluationContext) -> np.ndarray:
    import torch

    with torch.no_grad():
        parts = [
            predict(by.tensor(states[i : i + CHUNK], torch.float32)).cpu()
            for i in range(0, len(states), CHUNK)
        ]
    return torch.cat(parts).double().numpy()
