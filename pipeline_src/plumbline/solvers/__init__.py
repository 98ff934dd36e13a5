"""Solvers of partial differential equations: batched torch on any device, without files."""

from __future__ import annotations

from plumbline._lazy import exports

__getattr__ = exports(
    __name__,
    {
        "burgers": (),
        "burgers_differences": (),
        "exponential": (),
        "kolmogorov": (),
    },
)
"""Public classes of the room's modules, imported when they are first asked for."""
