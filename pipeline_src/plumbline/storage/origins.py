"""Which state of the library made a store: its version, and its commit with the changes that were not committed."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

SHORT = 10
"""Digits of a commit that are shown."""


def commit_of(folder: Path) -> str:
    """The last commit that changed a folder of code, with `+changes-` and their digest where it differs from that.

    Files that git does not know yet count, files that it ignores do not. `unknown` outside a git repository.
    """

    def git(*arguments: str) -> bytes:
        return subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, check=True, timeout=10
        ).stdout

    try:
        head = git("log", "-1", "--format=%H", "--", ".").decode().strip()
        changes = [git("diff", "HEAD", "--", ".")]
        for name in git("ls-files", "--others", "--exclude-standard", "-z", "--", ".").split(b"\0"):
            if name:
                changes += [name, (folder / name.decode(errors="surrogateescape")).read_bytes()]
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    if not head:
        return "unknown"
    if not any(changes):
        return head
    return f"{head}+changes-{hashlib.sha256(bytes(0).join(changes)).hexdigest()[:SHORT]}"


def origin_of(provenance: Mapping[str, Any]) -> str:
    """Version and commit in the attributes of a store or the card of a model, as text for a reader."""
    version = provenance.get("plumbline_version", "unknown version")
    head, *changes = str(provenance.get("plumbline_commit", "unknown")).split("+", 1)
    return "+".join([f"{version}, commit {head[:SHORT]}", *changes])


def as_attribute(made: Iterable[tuple[str, str]]) -> str:
    """What each origin made, as the JSON of an attribute: pairs of what was made and its origin."""
    by_origin: dict[str, dict[str, None]] = {}
    for what, origin in made:
        by_origin.setdefault(origin, {})[what] = None
    return json.dumps({origin: list(names) for origin, names in by_origin.items()})


def origin_warnings(comparison: Mapping[Any, Any]) -> list[str]:
    """A sentence where the stores of a comparison were made by different states of the library.

    Args:
        comparison: the attributes of the comparison's store.
    """
    by_origin: dict[str, list[str]] = json.loads(comparison.get("origins", "{}"))
    if len(by_origin) < 2:
        return []
    listing = "; ".join(f"{origin} made {_listed(names)}" for origin, names in by_origin.items())
    return [
        f"Different versions of the library made the parts of this comparison: {listing}. Numbers may differ for that "
        f"reason alone; `snakemake --forceall` makes all of them anew."
    ]


def _listed(names: list[str], most: int = 6) -> str:
    shown = names if len(names) <= most else [*names[: most - 1], f"{len(names) - most + 1} more"]
    return ", ".join(shown)
