"""Names that a room re-exports from its modules, imported when they are first asked for: no room loads torch by itself."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def exports(room: str, names: Mapping[str, tuple[str, ...]]) -> Callable[[str], Any]:
    """The `__getattr__` of a room.

    Args:
        room: its `__name__`.
        names: what each module below it exports, by the name of the module; a module with an empty tuple is exported itself.
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
