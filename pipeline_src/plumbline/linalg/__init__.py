"""Linear algebra without matrices where structure allows: linear maps, Gram matrices, covariances and their conditioning."""

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
        "gram": ("DegenerateGaussianError",),
    },
)
"""Public classes of the room's modules, imported when they are first asked for."""
