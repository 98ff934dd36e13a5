"""The version, commit and uncommitted changes of the library that wrote a store."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

SHORT = 10
"""Number of digits of a commit that are shown."""


def commit_of(folder: Path) -> str:
    """The last commit that changed a folder of code.

    If the folder has uncommitted changes, `+changes-` and a digest of them are appended. Untracked files
    count as changes, ignored files do not. Outside a git repository the result is `unknown`.
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
    """Text with the version and commit from the attributes of a store or from a model card."""
    version = provenance.get("plumbline_version", "unknown version")
    head, *changes = str(provenance.get("plumbline_commit", "unknown")).split("+", 1)
    return "+".join([f"{version}, commit {head[:SHORT]}", *changes])


def as_attribute(made: Iterable[tuple[str, str]]) -> str:
    """JSON for the attribute `origins`: for each origin, the names of its results.

    Args:
        made: pairs of the name of a result and its origin.
    """
    by_origin: dict[str, dict[str, None]] = {}
    for what, origin in made:
        by_origin.setdefault(origin, {})[what] = None
    return json.dumps({origin: list(names) for origin, names in by_origin.items()})


def origin_warnings(comparison: Mapping[Any, Any]) -> list[str]:
    """A warning if different versions of the library wrote the results of a comparison; else an empty list.

    Args:
        comparison: the attributes of the store of the comparison.
    """
    by_origin: dict[str, list[str]] = json.loads(comparison.get("origins", "{}"))
    if len(by_origin) < 2:
        return []
    listing = "; ".join(f"{origin} made {_listed(names)}" for origin, names in by_origin.items())
    return [
        f"Different versions of the library made the parts of this comparison: {listing}. Results may "
        "differ for this reason alone; `snakemake --forceall` recomputes all of them."
    ]


def _listed(names: list[str], most: int = 6) -> str:
    shown = names if len(names) <= most else [*names[: most - 1], f"{len(names) - most + 1} more"]
    return ", ".join(shown)
