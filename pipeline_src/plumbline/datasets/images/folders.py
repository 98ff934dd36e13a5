"""The images of a folder and those below it, what their folders say of them, and what else lies there.

Links are followed. Hidden files and folders, and what systems leave (`__MACOSX`, `Thumbs.db`), are left out; so are files that are no
images by their names. What is left out is counted in the log.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from plumbline.datasets.files import DataFileError
from plumbline.datasets.images.decoding import SUFFIXES

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
    found: list[Path] = []
    others: Counter[str] = Counter()
    _gather(folder, found, others, {})
    if not found:
        raise DataFileError(
            f"{folder} holds no images ({', '.join(SUFFIXES)}){_told(others)}: set `dataset.data_dir`."
        )
    logger.info("%s: %d images%s", folder, len(found), _told(others))
    return sorted(found)


def _gather(folder: Path, found: list[Path], others: Counter[str], seen: dict[str, Path]) -> None:
    """Adds the images of a folder to `found`, and what is no image to `others`."""
    real = os.path.realpath(folder)
    _once(real, folder, seen)
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda one: one.name):
            path = folder / entry.name
            if entry.name.startswith(".") or entry.name.lower() in LEFT_BY_SYSTEMS:
                others["hidden or left by a system"] += 1
            elif entry.is_dir():
                _gather(path, found, others, seen)
            elif path.suffix.lower() not in SUFFIXES:
                others[path.suffix.lower() or "without a suffix"] += 1
            elif not entry.is_file():
                raise DataFileError(
                    f"{path} is a link to nothing, or no file: mend it, or move it elsewhere."
                )
            else:
                _once(os.path.realpath(path) if entry.is_symlink() else f"{real}/{entry.name}", path, seen)
                found.append(path)


def _once(real: str, path: Path, seen: dict[str, Path]) -> None:
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
    return Path(os.path.commonpath([image.parent for image in images]))


def published_splits(images: Sequence[Path], root: Path) -> np.ndarray | None:
    """The split of each image where folders such as `train` and `test` say it; None where none do.

    Raises:
        DataFileError: such folders stand beside others, or below folders of classes.
    """
    places = [path.relative_to(root).parts[:-1] for path in images]
    beside = {parts[0] if parts else "." for parts in places}
    named = {name for name in beside if name.lower() in SPLIT_FOLDERS}
    if len(beside) > 1 and named:
        if strange := sorted(beside - named):
            raise DataFileError(
                f"{root} has images in {', '.join(sorted(named))}, which are splits, and in {', '.join(strange)}: "
                f"set `dataset.data_dir` to one of them, or move the others elsewhere."
            )
        return np.array([SPLIT_FOLDERS[parts[0].lower()] for parts in places])
    deeper = {part for parts in places for part in parts[1:] if part.lower() in SPLIT_FOLDERS}
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
    folders = [Path(*path.relative_to(root).parts[int(split_first) : -1]) for path in images]
    classes = sorted(set(folders))
    for above in classes:
        if below := [folder for folder in classes if above in folder.parents]:
            count = folders.count(above)
            raise DataFileError(
                f"{root / above} holds {count} images beside the folder {below[0].relative_to(above)}, which makes it "
                f"a class of its own: move them into a folder, or elsewhere."
            )
    if len(classes) > 1:
        shown = ", ".join(f"{number} {folder}" for number, folder in enumerate(classes[:10]))
        logger.info("classes by folder: %s%s", shown, ", ..." if len(classes) > 10 else "")
    numbers = {folder: number for number, folder in enumerate(classes)}
    return np.array([numbers[folder] for folder in folders])
