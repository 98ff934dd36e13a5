"""Files of published data: taken from a folder, or downloaded into it once; their hashes are checked."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path


class DataFileError(RuntimeError):
    """A file of published data that is not there, or is another one."""


@dataclass(frozen=True)
class PublishedFile:
    """A file with a known content.

    Attributes:
        name: path below the data folder.
        url: where it is downloaded from.
        sha256: hash of its content.
    """

    name: str
    url: str
    sha256: str

    def fetch(self, data_dir: str) -> Path:
        """Path of the file in the data folder, downloaded if it is not there.

        Raises:
            DataFileError: it is not there and cannot be downloaded, or its content is another.
        """
        path = Path(data_dir) / self.name
        if not path.exists():
            self._download(path)
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != self.sha256:
            raise DataFileError(
                f"{path} is not the published file (its SHA-256 is {found}, expected {self.sha256}). "
                f"Delete it, and it is downloaded from {self.url}."
            )
        return path

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
