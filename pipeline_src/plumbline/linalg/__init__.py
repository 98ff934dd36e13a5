"""Structured linear algebra: linear maps, Gram matrices, covariances and their conditioning.

Where the structure allows it, no matrix is formed.
"""

from __future__ import annotations

from plumbline._lazy import exports

__getattr__ = exports(
    __name__,
    {
        "covariance": (
            "DenseCovariance",
            "Diagonal",
            "LowRankPlusDiagonal",
            "ScaledIdentity",
        ),
        "maps": (
            "DenseMap",
            "GroupSum",
        ),
        "drift": ("SumDifferences",),
        "spectral": ("SpectralCovariance",),
        "stacked": ("StackedMap",),
        "gram": ("DegenerateGaussianError",),
    },
)
"""Public classes of the room's modules, imported on first access."""
