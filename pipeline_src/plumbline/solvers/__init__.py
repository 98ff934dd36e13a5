"""Solvers of partial differential equations, without file access.

Those of evolution equations are batched, in torch, on any device; `darcy` solves sparse systems by SciPy.
"""

from __future__ import annotations

from plumbline._lazy import exports

__getattr__ = exports(
    __name__,
    {
        "burgers": (),
        "burgers_differences": (),
        "darcy": (),
        "exponential": (),
        "kolmogorov": (),
    },
)
"""Public classes of the room's modules, imported on first access."""
