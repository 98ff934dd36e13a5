"""The images of a folder and those below it, what their folders say of them, and what else lies there.

Links are followed. Hidden files and folders, and what systems leave (`__MACOSX`, `Thumbs.db`), are left out; so are files that are no
images by their names. What is left out is counted in the log.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from plumbline.datasets._download import DataFileError
from plumbline.datasets._images.decoding import SUFFIXES

logger = logging.getLogger("plumbline")

LEFT_BY_SYSTEMS = ("__macosx", "thumbs.db", "desktop.ini", "@eadir")
SPLIT_FOLDERS = {
    "train": "train", "training": "train",
    "val": "validation", "valid": "validation", "validation": "validation", "dev": "validation",
    "test": "test", "testing": "test",
}  # fmt: skip
"""Names of folders that say which split images are of, in lower case."""


def images_below(folder: Path) -> list[Path]:
    """The images, in the order of their paths.

    Raises:
        DataFileError: there is no such folder, no image in it, a link to nothing, or a link to what is there already.
    """
    if not folder.is_dir():
        raise DataFileError(f"{folder} is no folder: set `dataset.data_dir` to a folder of images.")
    walk = _Walk()
    walk.gather(folder)
    walk.refuse_links_to_images()
    if not walk.images:
        raise DataFileError(
            f"{folder} holds no images ({', '.join(SUFFIXES)}){_told(walk.others)}: set `dataset.data_dir`."
        )
    logger.info("%s: %d images%s", folder, len(walk.images), _told(walk.others))
    return sorted(walk.images)


@dataclass
class _Walk:
    """What is found below a folder: images, counts of what is none, real folders, and what linked images are links to."""

    images: list[Path] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)
    folders: dict[str, Path] = field(default_factory=dict)
    links: dict[str, Path] = field(default_factory=dict)

    def gather(self, folder: Path) -> None:
        """Adds what a folder holds."""
        _once(self.folders, os.path.realpath(folder), folder)
        before = len(self.images)
        with os.scandir(folder) as entries:
            for entry in sorted(entries, key=lambda one: one.name):
                path = folder / entry.name
                if entry.name.startswith(".") or entry.name.lower() in LEFT_BY_SYSTEMS:
                    self.others["hidden or left by a system"] += 1
                elif entry.is_dir():
                    self.gather(path)
                elif path.suffix.lower() not in SUFFIXES:
                    self.others[path.suffix.lower() or "without a suffix"] += 1
                elif not entry.is_file():
                    raise DataFileError(
                        f"{path} is a link to nothing, or no file: mend it, or move it elsewhere."
                    )
                else:
                    if entry.is_symlink():
                        _once(self.links, os.path.realpath(path), path)
                    self.images.append(path)
        if len(self.images) == before:
            self.others["folders without images"] += 1

    def refuse_links_to_images(self) -> None:
        """Refuses links to files in folders that are read as well."""
        for real, path in self.links.items():
            if (folder := self.folders.get(os.path.dirname(real))) is not None:
                _once({real: folder / os.path.basename(real)}, real, path)


def _once(seen: dict[str, Path], real: str, path: Path) -> None:
    if real in seen:
        raise DataFileError(
            f"{path} and {seen[real]} are the same, so that images would count twice: take the link out."
        )
    seen[real] = path


def _told(others: Counter[str]) -> str:
    counts = ", ".join(f"{count} {what}" for what, count in sorted(others.items()))
    return f"; left out: {counts}" if others else ""


def common_folder(images: Sequence[Path]) -> Path:
    """The deepest folder that all images lie below."""
    return Path(os.path.commonpath({image.parent for image in images}))


def published_splits(images: Sequence[Path], root: Path) -> np.ndarray | None:
    """The split of each image where folders such as `train` and `test` say it; None where none do.

    Raises:
        DataFileError: such folders stand beside others, or below folders of classes.
    """
    places = [folder.parts for folder in _folders(images, root)]
    beside = {parts[0] if parts else "." for parts in places}
    named = {name for name in beside if name.lower() in SPLIT_FOLDERS}
    if len(beside) > 1 and named:
        if strange := sorted(beside - named):
            raise DataFileError(
                f"{root} has images in {', '.join(sorted(named))}, which are splits, and in {', '.join(strange)}: "
                f"set `dataset.data_dir` to one of them, or move the others elsewhere."
            )
        return np.array([SPLIT_FOLDERS[parts[0].lower()] for parts in places])
    deeper = {part for parts in set(places) for part in parts[1:] if part.lower() in SPLIT_FOLDERS}
    if len(deeper) > 1:
        raise DataFileError(
            f"{root} has folders {', '.join(sorted(deeper))} below others: put the folders of splits above those of "
            f"classes, as {root / min(deeper)}."
        )
    return None


def classes_by_folder(images: Sequence[Path], root: Path, *, split_first: bool) -> np.ndarray:
    """The number of the folder that each image is in, in the order of their paths; all zero where there is one.

    Args:
        images: the images.
        root: the folder that all lie below.
        split_first: whether the first folder below it is that of a split, which is no class.

    Raises:
        DataFileError: images lie beside folders of images.
    """
    folders = [Path(*folder.parts[int(split_first) :]) for folder in _folders(images, root)]
    classes = sorted(set(folders))
    above = {parent for folder in classes for parent in folder.parents}
    for folder in classes:
        if folder in above:
            there = images[folders.index(folder)].parent
            raise DataFileError(
                f"{there} holds {folders.count(folder)} images beside folders of images, which makes it a class of its own: "
                f"move them into a folder, or elsewhere."
            )
    if len(classes) > 1:
        shown = ", ".join(f"{number} {folder}" for number, folder in enumerate(classes[:10]))
        logger.info("classes by folder: %s%s", shown, ", ..." if len(classes) > 10 else "")
    numbers = {folder: number for number, folder in enumerate(classes)}
    return np.array([numbers[folder] for folder in folders])


def _folders(images: Sequence[Path], root: Path) -> list[Path]:
    """The folder of each image, relative to the root."""
    parents = [image.parent for image in images]
    relative = {parent: parent.relative_to(root) for parent in set(parents)}
    return [relative[parent] for parent in parents]
