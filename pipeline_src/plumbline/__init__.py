"""Plumbline: generative models that must obey constraints, trained, sampled and compared."""

from __future__ import annotations

from plumbline._lazy import exports

__version__ = "0.1.0"

__getattr__ = exports(
    __name__,
    {
        "in_process": ("run",),
        "results": ("StudyResults", "open_results"),
        "study": ("load_study",),
        "numpy_task": ("Task", "task"),
    },
)
"""The names that a notebook begins with, imported when they are first asked for."""
