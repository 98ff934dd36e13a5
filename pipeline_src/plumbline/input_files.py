"""Input files of specs.

The workflow computes a fingerprint of each input file and reruns the jobs that depend on it when its content
changes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import model_serializer

from plumbline.spec import Spec, key


@dataclass(frozen=True)
class InputFile:
    """A file, a folder or a remote address that a spec reads.

    Attributes:
        key: the key of the spec that names it.
        path: the path or address; a relative path starts at the folder that Snakemake runs in.
        what: a description of the expected content, for the message that reports a missing file.
        published: the SHA-256 of each form in which a published file may be stored. The first is the
            fingerprint of all of these forms, and of a file that does not exist yet, since it will be
            downloaded and checked. Empty for a user's own file.
    """

    key: str
    path: str
    what: str
    published: tuple[str, ...] = ()


class ReadsFiles(Spec):
    """Mixin for kinds that read files, whose results depend on the content of these files."""

    fingerprint: str | None = key(min_length=1, default=None)
    """Fingerprint of the content of the input files. The workflow sets it at the start. Set it yourself for a
    remote address whose server gives no ETag, and change it whenever the content changes."""

    def input_files(self) -> tuple[InputFile, ...]:
        """The input files, in a fixed order."""
        raise NotImplementedError

    @model_serializer(mode="wrap")
    def _only_a_known_fingerprint(self, dump: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        values = dump(self)
        if values.get("fingerprint") is None:
            values.pop("fingerprint", None)
        return values
