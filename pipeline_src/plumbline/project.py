"""Projects: folders with studies, plug-ins and a Snakefile that runs the library's workflow."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from plumbline.plan import DATASET_PART, MODEL_FOLDER, Plan

TEMPLATE = Path(__file__).parent / "template"
KINDS = Path(__file__).parent / "template_kinds"
RENAMED = {"gitignore": ".gitignore"}
"""Template files stored under another name, so that tools do not apply them to the template's folder."""


class ProjectError(ValueError):
    """A folder cannot become a project."""


def init_project(folder: Path) -> list[Path]:
    """Writes the files of a new project and returns their paths. It overwrites nothing.

    Args:
        folder: the folder of the project.

    Raises:
        ProjectError: a file that would be written already exists.
    """
    sources = sorted(p for p in TEMPLATE.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
    targets = [folder / s.relative_to(TEMPLATE).with_name(RENAMED.get(s.name, s.name)) for s in sources]
    there = [str(target) for target in targets if target.exists()]
    if there:
        raise ProjectError(f"already there: {', '.join(there)}. Name a new folder, or move these files away.")
    for source, target in zip(sources, targets, strict=True):
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    return targets


def new_kind(room: str, name: str, folder: Path) -> list[Path]:
    """Writes a template of a kind and a test of it, and returns both files; nothing that exists is changed.

    Args:
        room: `constraint`, `sampler`, `metric` or `dataset`.
        name: name of the kind and of its file, in lower case with underscores.
        folder: where to write.

    Raises:
        ProjectError: the name cannot be that of a kind, or a file of this name is there.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise ProjectError(f"a kind is named by lower-case letters, digits and underscores, found {name!r}")
    files = {f"{name}.py": KINDS / f"{room}.py", f"test_{name}.py": KINDS / f"test_{room}.py"}
    there = [str(folder / file) for file in files if (folder / file).exists()]
    if there:
        raise ProjectError(f"{', '.join(there)} exist already: choose another name, or move them away.")
    title = "".join(part.title() for part in name.split("_"))
    for file, source in files.items():
        text = source.read_text(encoding="utf-8")
        (folder / file).write_text(text.replace("Example", title).replace("example", name), encoding="utf-8")
    return [folder / file for file in files]


@dataclass(frozen=True)
class Unused:
    """A folder of results that no study uses.

    Attributes:
        path: the folder.
        size: its size in bytes.
    """

    path: Path
    size: int


def unused_folders(results: Path, plans: list[Plan]) -> list[Unused]:
    """The folders of datasets and trained models below `results` that none of the plans uses."""
    used = {plan.dataset_name() for plan in plans}
    used |= {plan.trained_name(model) for plan in plans for model in plan.study.models}
    shared = [results / pattern.split("/")[0] for pattern in (DATASET_PART, MODEL_FOLDER)]
    found = sorted(p for folder in shared if folder.is_dir() for p in folder.iterdir() if p.is_dir())
    return [Unused(p, _size(p)) for p in found if p.name not in used]


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
