"""Random numbers that belong to a sample: a counter-based stream, cut into one block a sample.

Philox (Salmon et al., SC 2011) computes its n-th number from n, so that the block of any sample is reached
without drawing those before it, and consecutive samples are drawn in one vectorised call.
"""

from __future__ import annotations

import numpy as np

NUMBERS_PER_COUNT = 4


def uniforms(seed: int, indices: np.ndarray, width: int) -> np.ndarray:
    """Uniform numbers in (0, 1), (samples, width), for consecutive sample indices."""
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
    """Standard normal numbers, (samples, width), for consecutive sample indices."""
    from scipy.special import ndtri

    return ndtri(uniforms(seed, indices, width))
