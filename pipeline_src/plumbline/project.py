"""Projects: folders with studies, plug-ins and a Snakefile that runs the library's workflow on them."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from plumbline.plan import DATASET_PART, MODEL_FOLDER, Plan

TEMPLATE = Path(__file__).parent / "template"
RENAMED = {"gitignore": ".gitignore"}
"""Files of the template that lie under another name, since tools would heed them where they are."""


class ProjectError(ValueError):
    """A folder that cannot become a project."""


def init_project(folder: Path) -> list[Path]:
    """Writes the files of a new project and returns them; nothing that exists is changed.

    Raises:
        ProjectError: a file that would be written is there.
    """
    sources = sorted(p for p in TEMPLATE.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
    targets = [folder / s.relative_to(TEMPLATE).with_name(RENAMED.get(s.name, s.name)) for s in sources]
    there = [str(target) for target in targets if target.exists()]
    if there:
        raise ProjectError(f"{', '.join(there)} exist already: name a new folder, or move them away.")
    for source, target in zip(sources, targets, strict=True):
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    return targets


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
    """The folders of datasets and trained models below `results` that none of these plans uses."""
    used = {plan.dataset_name() for plan in plans}
    used |= {plan.trained_name(model) for plan in plans for model in plan.study.models}
    shared = [results / pattern.split("/")[0] for pattern in (DATASET_PART, MODEL_FOLDER)]
    found = sorted(p for folder in shared if folder.is_dir() for p in folder.iterdir() if p.is_dir())
    return [Unused(p, _size(p)) for p in found if p.name not in used]


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
