"""Solvers of partial differential equations: batched, in torch, on any device, without file access."""

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
"""Public classes of the room's modules, imported on first access."""
