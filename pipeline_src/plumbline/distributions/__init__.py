"""Distributions under linear equality constraints."""

from __future__ import annotations

from plumbline._lazy import exports

__getattr__ = exports(
    __name__,
    {
        "constrained_gaussian": ("ConstrainedGaussian",),
        "constrained_poisson": ("ConstrainedPoisson",),
        "corrected_gaussian": ("CorrectedGaussian",),
        "independent_gaussian": ("IndependentGaussian",),
    },
)
"""Public classes of the room's modules, imported when they are first asked for."""
