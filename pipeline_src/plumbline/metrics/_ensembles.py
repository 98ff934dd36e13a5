"""Scores of ensembles of samples, compared with one true value each."""

from __future__ import annotations

import numpy as np


def crps(draws: np.ndarray, truth: np.ndarray) -> float:
    """The mean fair CRPS of ensembles (cases, K, n) for true values (cases, n), where K > 1."""
    count = draws.shape[1]
    error = np.abs(draws - truth[:, None]).mean()
    ordered = np.sort(draws, axis=1)
    # sum_{k, l} |x^k - x^l|, from the order statistics.
    weights = 2 * np.arange(1, count + 1) - count - 1
    apart = 2 * np.einsum("k,ckn->cn", weights, ordered).mean()
    return float(error - apart / (2 * count * (count - 1)))


def root_mean_square(values: np.ndarray) -> float:
    """The root of the mean square of all entries."""
    return float(np.sqrt(np.mean(values**2)))
