"""Lazy re-exports: a package imports names from its modules on first access, and loads without torch."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def exports(room: str, names: Mapping[str, tuple[str, ...]]) -> Callable[[str], Any]:
    """Returns the `__getattr__` of a package.

    Args:
        room: the package's `__name__`.
        names: the exported names of each module, by module name. A module with an empty tuple is itself
            exported.
    """
    where = {name: module for module, exported in names.items() for name in exported}
    modules = {module for module, exported in names.items() if not exported}

    def __getattr__(name: str) -> Any:
        if name in where:
            return getattr(importlib.import_module(f"{room}.{where[name]}"), name)
        if name in modules:
            return importlib.import_module(f"{room}.{name}")
        raise AttributeError(f"module {room!r} has no attribute {name!r}")

    return __getattr__
