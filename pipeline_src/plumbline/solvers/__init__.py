"""Solvers of partial differential equations, without file access.

Those of evolution equations are batched, in torch, on any device. On the CPU, spectral methods take their
steps in a library in C, the only file that they write: a C compiler makes it on first use, if there is one.
`darcy` solves sparse systems by SciPy.
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
