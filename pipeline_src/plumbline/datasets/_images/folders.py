"""The images in a folder and its subfolders, with the splits and classes that folder names determine.

Links are followed. Hidden files and folders, files of operating systems (`__MACOSX`, `Thumbs.db`) and files
without the suffix of an image are left out; the log counts them.
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
"""Folder names in lower case, with the split that each denotes."""


def images_below(folder: Path) -> list[Path]:
    """The paths of the images in a folder and its subfolders, sorted.

    Raises:
        DataFileError: the folder does not exist or contains no images, a link is broken, or a link points to
            an image or a folder that is read anyway.
    """
    if not folder.is_dir():
        raise DataFileError(f"{folder} is not a folder: set `dataset.data_dir` to a folder of images.")
    walk = _Walk()
    walk.gather(folder)
    walk.refuse_links_to_images()
    if not walk.images:
        raise DataFileError(
            f"{folder} contains no images ({', '.join(SUFFIXES)}){_left_out(walk.others)}: set "
            "`dataset.data_dir`."
        )
    logger.info("%s: %d images%s", folder, len(walk.images), _left_out(walk.others))
    return sorted(walk.images)


@dataclass
class _Walk:
    """The content of a folder and its subfolders.

    Attributes:
        images: paths of the images.
        others: number of other files and folders, by reason for leaving them out.
        folders: path of each folder, by its real path.
        links: path of each linked image, by its real path.
    """

    images: list[Path] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)
    folders: dict[str, Path] = field(default_factory=dict)
    links: dict[str, Path] = field(default_factory=dict)

    def gather(self, folder: Path) -> None:
        """Adds the content of a folder and its subfolders."""
        _once(self.folders, os.path.realpath(folder), folder)
        before = len(self.images)
        with os.scandir(folder) as entries:
            for entry in sorted(entries, key=lambda one: one.name):
                path = folder / entry.name
                if entry.name.startswith(".") or entry.name.lower() in LEFT_BY_SYSTEMS:
                    self.others["hidden or of the operating system"] += 1
                elif entry.is_dir():
                    self.gather(path)
                elif path.suffix.lower() not in SUFFIXES:
                    self.others[path.suffix.lower() or "without a suffix"] += 1
                elif not entry.is_file():
                    raise DataFileError(
                        f"{path} is a broken link, or not a file: repair it, or move it elsewhere."
                    )
                else:
                    if entry.is_symlink():
                        _once(self.links, os.path.realpath(path), path)
                    self.images.append(path)
        if len(self.images) == before:
            self.others["folders without images"] += 1

    def refuse_links_to_images(self) -> None:
        """Raises an error if a link points to an image in a folder that is read anyway."""
        for real, path in self.links.items():
            if (folder := self.folders.get(os.path.dirname(real))) is not None:
                _once({real: folder / os.path.basename(real)}, real, path)


def _once(seen: dict[str, Path], real: str, path: Path) -> None:
    if real in seen:
        raise DataFileError(
            f"{path} and {seen[real]} are the same, so images would be counted twice: remove the link."
        )
    seen[real] = path


def _left_out(others: Counter[str]) -> str:
    counts = ", ".join(f"{count} {what}" for what, count in sorted(others.items()))
    return f"; left out: {counts}" if others else ""


def common_folder(images: Sequence[Path]) -> Path:
    """The deepest folder that contains all images."""
    return Path(os.path.commonpath({image.parent for image in images}))


def published_splits(images: Sequence[Path], root: Path) -> np.ndarray | None:
    """The split of each image, from folders such as `train` and `test`; None if there are no such folders.

    Args:
        images: the images.
        root: the folder that contains all of them.

    Raises:
        DataFileError: folders of splits are next to other folders with images, or below folders of classes.
    """
    places = [folder.parts for folder in _folders(images, root)]
    beside = {parts[0] if parts else "." for parts in places}
    named = {name for name in beside if name.lower() in SPLIT_FOLDERS}
    if len(beside) > 1 and named:
        if strange := sorted(beside - named):
            raise DataFileError(
                f"{root} has images in {', '.join(sorted(named))}, which are splits, and in "
                f"{', '.join(strange)}: set `dataset.data_dir` to one of them, or move the others elsewhere."
            )
        return np.array([SPLIT_FOLDERS[parts[0].lower()] for parts in places])
    deeper = {part for parts in set(places) for part in parts[1:] if part.lower() in SPLIT_FOLDERS}
    if len(deeper) > 1:
        raise DataFileError(
            f"{root} has folders {', '.join(sorted(deeper))} below others: put the folders of splits above "
            f"those of classes, as in {root / min(deeper)}."
        )
    return None


def classes_by_folder(images: Sequence[Path], root: Path, *, split_first: bool) -> np.ndarray:
    """The class of each image: the number of its folder among the sorted folders with images.

    Args:
        images: the images.
        root: the folder that contains all of them.
        split_first: whether the folders directly below `root` are splits rather than classes.

    Raises:
        DataFileError: a folder contains both images and folders of images.
    """
    folders = [Path(*folder.parts[int(split_first) :]) for folder in _folders(images, root)]
    classes = sorted(set(folders))
    above = {parent for folder in classes for parent in folder.parents}
    for folder in classes:
        if folder in above:
            there = images[folders.index(folder)].parent
            raise DataFileError(
                f"{there} holds {folders.count(folder)} images beside folders of images, so it would be a "
                "class of its own: move them into a folder, or elsewhere."
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
