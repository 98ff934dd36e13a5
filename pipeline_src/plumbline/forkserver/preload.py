"""What the fork server imports before the first fork."""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import pkgutil
import site
import sys
from pathlib import Path

ROOMS = (
    "linalg", "solvers", "distributions", "networks", "constraints", "observations", "attributes", "samplers",
    "datasets", "training", "models", "metrics", "storage", "stages",
)  # fmt: skip
"""Packages of the library that are imported with all their modules."""
LEFT_OUT = ("plumbline.networks._gated_graph",)
"""Modules of these packages that import a further library, which few studies use."""
LIBRARIES = ("torch._dynamo", "sklearn.neighbors", "scipy.spatial.distance", "dask.array")
"""Modules that the library, torch's optimisers and xarray import only when they use them."""


def preload() -> None:
    """Imports the library, and what it needs in most jobs. No kind of a user or of a plug-in is among it."""
    for name in LIBRARIES:
        importlib.import_module(name)
    for room in ROOMS:
        package = importlib.import_module(f"plumbline.{room}")
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if module.name not in LEFT_OUT:
                importlib.import_module(module.name)
    importlib.import_module("plumbline.cli")
    # The garbage collector of a fork passes over these objects: it would copy their memory to mark them.
    gc.collect()
    gc.freeze()


def unfit() -> str:
    """Why this process cannot be forked safely; empty if it can."""
    import torch

    if len(os.listdir("/proc/self/task")) > 1:
        return "the fork server has several threads"
    if torch.cuda.is_initialized():
        return "the fork server has initialised CUDA"
    return ""


def state_of_code() -> dict[str, int]:
    """When each imported file of the library and the installed packages changed last, in nanoseconds.

    Installing or removing a package changes the folder of the packages.
    """
    imported = [
        module.__file__
        for name, module in list(sys.modules.items())
        if name.partition(".")[0] == "plumbline" and getattr(module, "__file__", None)
    ]
    found = {}
    for path in [*imported, *site.getsitepackages(), site.getusersitepackages()]:
        with contextlib.suppress(OSError):
            found[str(path)] = Path(str(path)).stat().st_mtime_ns
    return found
