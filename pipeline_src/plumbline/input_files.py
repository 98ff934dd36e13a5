"""Files that specs read: what the workflow takes a fingerprint of, so that changed content reruns what depends on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import model_serializer

from plumbline.spec import Spec, key


@dataclass(frozen=True)
class InputFile:
    """A file, a folder or an address that a spec reads.

    Attributes:
        key: the key of the spec that names it.
        path: where it is; a relative path starts at the folder that Snakemake runs in.
        what: what it should be, for whoever is told that it is missing.
        published: SHA-256 of each form in which a published file may lie there. The first stands for all of them, and for
            a file that is not there yet, since it is downloaded and checked. Empty for a user's own file.
    """

    key: str
    path: str
    what: str
    published: tuple[str, ...] = ()


class ReadsFiles(Spec):
    """Mixed into a kind that reads files: their content is part of what its results depend on."""

    fingerprint: str | None = key(min_length=1, default=None)
    """Stands for the content of the files that are read. The workflow sets it when it starts; set it yourself for a remote
    address whose server gives no ETag, and change it with the content."""

    def input_files(self) -> tuple[InputFile, ...]:
        """The files that are read, in a fixed order."""
        raise NotImplementedError

    @model_serializer(mode="wrap")
    def _only_a_known_fingerprint(self, dump: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        values = dump(self)
        if values.get("fingerprint") is None:
            values.pop("fingerprint", None)
        return values
