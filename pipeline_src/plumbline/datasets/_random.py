"""Random numbers per sample: a counter-based stream with one block of numbers for each sample.

Philox (Salmon et al., SC 2011, https://doi.org/10.1145/2063384.2063405) computes its n-th number directly
from n. The block of any sample is therefore available without drawing the blocks before it, and consecutive
samples are drawn in one vectorised call.
"""

from __future__ import annotations

import numpy as np

NUMBERS_PER_COUNT = 4


def uniforms(seed: int, indices: np.ndarray, width: int) -> np.ndarray:
    """Uniform random numbers in (0, 1) for consecutive samples, float64 (samples, width).

    Args:
        seed: key of the stream.
        indices: consecutive indices of the samples.
        width: number of values per sample.

    Raises:
        ValueError: the indices are not consecutive.
    """
    if len(indices) and not np.array_equal(indices, np.arange(indices[0], indices[0] + len(indices))):
        raise ValueError("sample indices must be consecutive.")
    counts = -(-width // NUMBERS_PER_COUNT)
    stream = np.random.Philox(key=seed)
    if len(indices):
        stream.advance(int(indices[0]) * counts)
    raw = stream.random_raw(len(indices) * counts * NUMBERS_PER_COUNT)
    values = ((raw >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52
    return values.reshape(len(indices), -1)[:, :width]


def normals(seed: int, indices: np.ndarray, width: int) -> np.ndarray:
    """Standard normal random numbers for consecutive samples, float64 (samples, width).

    Args:
        seed: key of the stream.
        indices: consecutive indices of the samples.
        width: number of values per sample.

    Raises:
        ValueError: the indices are not consecutive.
    """
    from scipy.special import ndtri

    return ndtri(uniforms(seed, indices, width))
