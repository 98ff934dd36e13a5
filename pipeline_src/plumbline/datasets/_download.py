"""Files of published data: taken from a folder, or downloaded into it once; their hashes are checked."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from plumbline.input_files import InputFile

GZIPPED = b"\x1f\x8b"


class DataFileError(ValueError):
    """A file of data that is not there, is another one, or cannot be read."""


@dataclass(frozen=True)
class PublishedFile:
    """A file with a known content.

    Attributes:
        name: path below the data folder.
        url: where it is downloaded from.
        sha256: hash of its content.
        unzipped_sha256: of a gzipped file, the hash of what is in it: the file may lie there unzipped, or zipped by another program.
        folders: below the data folder, that it may also lie in.
        names: that it may also have, as other libraries save it.
    """

    name: str
    url: str
    sha256: str
    unzipped_sha256: str | None = None
    folders: tuple[str, ...] = ()
    names: tuple[str, ...] = ()

    def places(self, data_dir: str) -> list[Path]:
        """Where the file may lie, in the order in which it is looked for; it is downloaded to the first."""
        unzipped = (self.name.removesuffix(".gz"),) if self.unzipped_sha256 else ()
        names = (self.name, *unzipped, *self.names)
        return [Path(data_dir) / folder / name for folder in ("", *self.folders) for name in names]

    def fetch(self, data_dir: str) -> Path:
        """Path of the file in the data folder, downloaded if it is not there.

        Raises:
            DataFileError: it is not there and cannot be downloaded, or its content is another.
        """
        places = self.places(data_dir)
        path = next((place for place in places if place.exists()), None)
        if path is None:
            path = places[0]
            self._download(path)
        self._check(path)
        return path

    def as_input(self, data_dir: str) -> InputFile:
        """What the workflow takes its fingerprint of; the file may be missing, since it can be downloaded."""
        places = self.places(data_dir)
        path = next((place for place in places if place.exists()), places[0])
        contents = (self.sha256, *([self.unzipped_sha256] if self.unzipped_sha256 else []))
        return InputFile("data_dir", str(path), f"the file of {self.url}", contents)

    def _check(self, path: Path) -> None:
        """Compares hashes: of the file, or of what is in it."""
        raw = path.read_bytes()
        found, expected = hashlib.sha256(raw).hexdigest(), self.sha256
        if found != expected and self.unzipped_sha256:
            found, expected = hashlib.sha256(unzipped(raw, path)).hexdigest(), self.unzipped_sha256
        if found != expected:
            raise DataFileError(
                f"{path} is not the published file: its SHA-256 is {found}, expected {expected} as of {self.url}. Set "
                f"`dataset.data_dir` to the folder of the published one, or to a new folder, which it is downloaded into; "
                f"or move this file elsewhere."
            )

    def _download(self, path: Path) -> None:
        import pooch

        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            pooch.retrieve(self.url, known_hash=f"sha256:{self.sha256}", fname=path.name, path=path.parent)
        except Exception as error:
            raise DataFileError(
                f"{path} is not there, and {self.url} could not be downloaded ({type(error).__name__}: {error}). "
                f"Put the file there, or set `dataset.data_dir` to the folder that holds {self.name}."
            ) from error


def unzipped(raw: bytes, path: Path) -> bytes:
    """What is in a gzipped file, or the content as it is.

    Raises:
        DataFileError: the file is damaged.
    """
    import gzip
    import zlib

    if raw[:2] != GZIPPED:
        return raw
    try:
        return gzip.decompress(raw)
    except (OSError, EOFError, zlib.error) as error:
        raise DataFileError(
            f"{path} is cut short or damaged ({error}): take a whole copy, or set `dataset.data_dir`."
        ) from error


def own_file(data_dir: str, name: str, what: str) -> Path:
    """Path of a user's file.

    Raises:
        DataFileError: it is not there; `what` says what it should hold.
    """
    path = Path(data_dir) / name
    if not path.is_file():
        raise DataFileError(
            f"{path} is not there: it should be {what}. Put it there, or set `dataset.data_dir`."
        )
    return path
