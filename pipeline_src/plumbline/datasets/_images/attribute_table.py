"""Tables of binary attributes with one line per image.

Two formats are read. One is that of CelebA's `list_attr_celeba.txt` (https://arxiv.org/abs/1411.7766): the
number of images, the names of the attributes, then one line per image, with fields separated by spaces. The
other has a header that also names the column of images, and fields separated by commas, semicolons or tabs;
an index column written by pandas is ignored. The values of a column are 1 and -1, 1 and 0, or `true` and
`false`. Other values are refused.
"""

from __future__ import annotations

import csv
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from plumbline.datasets._download import DataFileError

logger = logging.getLogger("plumbline")

WAYS = ({"1": 1, "-1": 0}, {"1": 1, "0": 0}, {"true": 1, "false": 0})
"""The pairs of values that a column may use, with the 1 or 0 that each stands for."""
DELIMITERS = (",", ";", "\t")


@dataclass(frozen=True)
class AttributeTable:
    """A table of attributes.

    Attributes:
        path: path of the file.
        header: names of the attributes.
        lines: line number and fields of each image, by the name of the image.
    """

    path: Path
    header: tuple[str, ...]
    lines: dict[str, tuple[int, list[str]]]

    def attributes_of(self, images: Sequence[Path], root: Path, names: Sequence[str]) -> np.ndarray:
        """Whether each image has each attribute, as ones and zeros (images, names).

        Args:
            images: paths of the images.
            root: folder that paths in the table are relative to; they may begin with its name.
            names: names of the attributes.

        Raises:
            DataFileError: an attribute is missing, an image has no line, or a value is not one of the allowed
                ones.
        """
        for name in names:
            if (count := self.header.count(name)) != 1:
                found = f"has no attribute {name!r}" if not count else f"lists {name!r} {count} times"
                raise DataFileError(f"{self.path} {found}; it has {', '.join(self.header)}.")
        lines = [self.lines[key] for key in self._keys(images, root)]
        return np.stack([self._column(lines, name) for name in names], axis=1)

    def _keys(self, images: Sequence[Path], root: Path) -> list[str]:
        """The name in the table of each image."""
        paths = [image.relative_to(root).as_posix() for image in images]
        if any("/" in key for key in self.lines):
            outer = f"{root.resolve().name}/"
            keys = [path if path in self.lines else outer + path for path in paths]
        else:
            keys = [PurePosixPath(path).name for path in paths]
            name, count = Counter(keys).most_common(1)[0]
            if count > 1:
                shared = [path for path, key in zip(paths, keys, strict=True) if key == name]
                raise DataFileError(
                    f"{self.path} lists images without their folders, and {count} images are named {name!r} "
                    f"({', '.join(shared[:2])}): write paths below {root} in the table."
                )
        absent = [path for path, key in zip(paths, keys, strict=True) if key not in self.lines]
        if absent:
            raise DataFileError(
                f"{self.path} has no line for {len(absent)} images, {absent[0]} among them; its lines have "
                f"names such as {next(iter(self.lines), '(none)')!r}: the first column should hold the "
                "names of the files."
            )
        if further := len(self.lines) - len(keys):
            logger.info("%s: %d lines of images that do not exist are left out", self.path, further)
        return keys

    def _column(self, lines: Sequence[tuple[int, list[str]]], name: str) -> np.ndarray:
        place = self.header.index(name)
        values = [_plain(fields[place]) for _, fields in lines]
        there = set(values)
        for way in WAYS:
            if there <= set(way):
                return np.array([way[value] for value in values], dtype=np.int64)
        odd = _first_odd(values)
        number, fields = lines[odd]
        beside = f" below {', '.join(sorted(set(values[:odd])))}" if odd else ""
        raise DataFileError(
            f"{self.path}, line {number}, column {name!r}: expected 1 and -1, 1 and 0, or true and false, "
            f"found {fields[place]!r}{beside}: correct the table, or move the image elsewhere."
        )


def read_attribute_table(path: Path) -> AttributeTable:
    """Reads a table of attributes.

    Raises:
        DataFileError: the file does not exist, is not UTF-8, or is not a table of attributes.
    """
    if not path.is_file():
        raise DataFileError(f"{path} does not exist: set `dataset.table` to the file of attributes.")
    try:
        rows = _rows(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        raise DataFileError(f"{path} is not UTF-8 (byte {error.start}): save it as UTF-8.") from error
    except csv.Error as error:
        raise DataFileError(f"{path} is not a table: {error}.") from error
    # The first line of CelebA's table is the number of images.
    stated = int(rows.pop(0)[1][0]) if rows and len(rows[0][1]) == 1 and rows[0][1][0].isdigit() else None
    if len(rows) < 2:
        raise DataFileError(f"{path} is empty: expected a line of names and one line per image.")
    header, body = rows[0][1], rows[1:]
    if stated is not None and stated != len(body):
        raise DataFileError(
            f"{path} states that it has {stated} images, but has {len(body)} lines: is it truncated?"
        )
    # If the column of images has no name, the lines have one field more than the header.
    names = header if len(body[0][1]) == len(header) + 1 else header[1:]
    first = 0
    if names is not header and header[0] == "" and all(fields[0].isdigit() for _, fields in body):
        names, first = names[1:], 1  # pandas' index
    lines: dict[str, tuple[int, list[str]]] = {}
    for number, fields in body:
        if len(fields) != first + 1 + len(names):
            raise DataFileError(
                f"{path}, line {number}: expected {first + 1 + len(names)} fields as in the header, found "
                f"{len(fields)}."
            )
        image = fields[first].replace("\\", "/").removeprefix("./")
        if image in lines:
            raise DataFileError(
                f"{path}: lines {lines[image][0]} and {number} both describe {image!r}: keep one."
            )
        lines[image] = number, fields[first + 1 :]
    return AttributeTable(path, tuple(names), lines)


def _rows(text: str) -> list[tuple[int, list[str]]]:
    """The number and fields of each non-empty line, with the delimiter of the first two lines."""
    lines = text.splitlines()
    opening = [line for line in lines if line.strip()][:2]
    delimiter = next((d for d in DELIMITERS if any(d in line for line in opening)), None)
    if delimiter is None:
        return [(number, line.split()) for number, line in enumerate(lines, 1) if line.strip()]
    read = csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=True)
    return [(read.line_num, [field.strip() for field in row]) for row in read if any(row)]


def _first_odd(values: Sequence[str]) -> int:
    """The position of the first value that, with those before it, does not fit any of `WAYS`."""
    seen: set[str] = set()
    for place, value in enumerate(values):
        seen.add(value)
        if not any(seen <= set(way) for way in WAYS):
            return place
    raise ValueError("all values fit one of the allowed pairs.")


def _plain(value: str) -> str:
    """A value as it is written in `WAYS`: 1.0 becomes 1, and True becomes true."""
    try:
        number = float(value)
    except ValueError:
        return value.lower()
    return f"{number:g}"
