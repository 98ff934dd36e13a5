"""A zarr store written by plumbline, whose chunks are checked when they are read.

Zarr's codec `crc32c` appends the CRC-32C checksum of its content to each chunk. The codec does not know the
path, so the checksum is verified here, and an error names the store and the chunk. Zarr would read a missing
chunk as the fill value. Plumbline writes all chunks, so a missing chunk is an error.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import google_crc32c
from zarr.storage import LocalStore

from plumbline.storage import CorruptStoreError

if TYPE_CHECKING:
    from zarr.abc.store import ByteRequest
    from zarr.core.buffer import Buffer, BufferPrototype

CHECKSUM_BYTES = 4


class CheckedStore(LocalStore):
    """A store on disk in which every chunk must be present and match its checksum."""

    async def get(
        self, key: str, prototype: BufferPrototype | None = None, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """The content of a file of the store; None if a file other than a chunk is missing.

        Raises:
            CorruptStoreError: a chunk is missing, or does not match its checksum.
        """
        found = await super().get(key, prototype, byte_range)
        array, is_chunk, _ = key.partition("/c")
        if not is_chunk or byte_range is not None or not self._has_checksums(array):
            return found
        if found is None:
            raise CorruptStoreError(self._damaged(key, "is missing"))
        content = found.to_bytes()
        if (
            len(content) < CHECKSUM_BYTES
            or google_crc32c.value(content[:-CHECKSUM_BYTES]).to_bytes(CHECKSUM_BYTES, "little")
            != content[-CHECKSUM_BYTES:]
        ):
            raise CorruptStoreError(self._damaged(key, "does not match its checksum"))
        return found

    def _has_checksums(self, array: str) -> bool:
        """Whether the last codec of an array is the checksum, which arrays of other programs lack."""
        known: dict[str, bool] = self.__dict__.setdefault("_checksums", {})
        if array not in known:
            try:
                codecs = json.loads((self.root / array / "zarr.json").read_text())["codecs"]
            except (OSError, ValueError, KeyError):
                codecs = []
            known[array] = bool(codecs) and codecs[-1].get("name") == "crc32c"
        return known[array]

    def _damaged(self, key: str, fault: str) -> str:
        return (
            f"{self.root} is damaged: its chunk {key} {fault}. Delete it and run the workflow again: "
            "the job that writes it will be rerun."
        )
