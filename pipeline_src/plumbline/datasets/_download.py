"""Files of published data, read from a folder or downloaded into it once, with a check of their hashes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from plumbline.input_files import InputFile

GZIPPED = b"\x1f\x8b"


class DataFileError(ValueError):
    """Raised when a data file is missing, is not the expected one, or cannot be read."""


@dataclass(frozen=True)
class PublishedFile:
    """A file with known content.

    Attributes:
        name: path relative to the data folder.
        url: address to download it from.
        sha256: SHA-256 of the file.
        unzipped_sha256: SHA-256 of the uncompressed content of a gzipped file. With it, a copy that is
            uncompressed or was compressed by another program is accepted too.
        folders: folders below the data folder that are searched too.
        names: names that other libraries save the file under.
    """

    name: str
    url: str
    sha256: str
    unzipped_sha256: str | None = None
    folders: tuple[str, ...] = ()
    names: tuple[str, ...] = ()

    def places(self, data_dir: str) -> list[Path]:
        """Paths at which the file is looked for, in this order; it is downloaded to the first."""
        unzipped = (self.name.removesuffix(".gz"),) if self.unzipped_sha256 else ()
        names = (self.name, *unzipped, *self.names)
        return [Path(data_dir) / folder / name for folder in ("", *self.folders) for name in names]

    def fetch(self, data_dir: str) -> Path:
        """Path of the file in the data folder, downloaded if it is missing.

        Raises:
            DataFileError: the file is missing and cannot be downloaded, or it is not the published file.
        """
        places = self.places(data_dir)
        path = next((place for place in places if place.exists()), None)
        if path is None:
            path = places[0]
            self._download(path)
        self._check(path)
        return path

    def as_input(self, data_dir: str) -> InputFile:
        """The file as an input of the workflow; it may be missing, since it can be downloaded."""
        places = self.places(data_dir)
        path = next((place for place in places if place.exists()), places[0])
        contents = (self.sha256, *([self.unzipped_sha256] if self.unzipped_sha256 else []))
        return InputFile("data_dir", str(path), f"the file of {self.url}", contents)

    def _check(self, path: Path) -> None:
        """Compares the SHA-256 of the file, or of its uncompressed content."""
        raw = path.read_bytes()
        found, expected = hashlib.sha256(raw).hexdigest(), self.sha256
        if found != expected and self.unzipped_sha256:
            found, expected = hashlib.sha256(unzipped(raw, path)).hexdigest(), self.unzipped_sha256
        if found != expected:
            raise DataFileError(
                f"{path} is not the published file: its SHA-256 is {found}, expected {expected} as of "
                f"{self.url}. Set `dataset.data_dir` to the folder of the published file, or to a new "
                "folder to download it into; or move this file elsewhere."
            )

    def _download(self, path: Path) -> None:
        import pooch

        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            pooch.retrieve(self.url, known_hash=f"sha256:{self.sha256}", fname=path.name, path=path.parent)
        except Exception as error:
            raise DataFileError(
                f"{path} does not exist, and {self.url} could not be downloaded ({type(error).__name__}: "
                f"{error}). Put the file there, or set `dataset.data_dir` to the folder that holds "
                f"{self.name}."
            ) from error


def unzipped(raw: bytes, path: Path) -> bytes:
    """The uncompressed content of a file, gzipped or not.

    Args:
        raw: the bytes of the file.
        path: path of the file, for the error message.

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
            f"{path} is truncated or damaged ({error}): copy it again, or set `dataset.data_dir`."
        ) from error


def own_file(data_dir: str, name: str, what: str) -> Path:
    """Path of a user's file.

    Args:
        data_dir: folder of the file.
        name: name of the file.
        what: expected content, for the error message.

    Raises:
        DataFileError: there is no such file.
    """
    path = Path(data_dir) / name
    if not path.is_file():
        raise DataFileError(
            f"{path} does not exist: it should be {what}. Put it there, or set `dataset.data_dir`."
        )
    return path
