"""A zarr store of ours on disk, whose chunks are checked as they are read.

Chunks end with the CRC-32C of what is before it, by zarr's codec of that name. The codec knows no path; this store does, so that an
error names the store and the chunk. A chunk that is missing would be read as the fill value; ours are all written.
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
    """A folder of which every chunk must be there and have the checksum that it was written with."""

    async def get(
        self, key: str, prototype: BufferPrototype | None = None, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """The bytes of a file of the store.

        Raises:
            CorruptStoreError: a chunk is missing, or is not what was written.
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
            raise CorruptStoreError(self._damaged(key, "is not what was written"))
        return found

    def _has_checksums(self, array: str) -> bool:
        """Whether an array's last codec is the checksum: stores of other programs have none."""
        known: dict[str, bool] = self.__dict__.setdefault("_checksums", {})
        if array not in known:
            try:
                codecs = json.loads((self.root / array / "zarr.json").read_text())["codecs"]
            except (OSError, ValueError, KeyError):
                codecs = []
            known[array] = bool(codecs) and codecs[-1].get("name") == "crc32c"
        return known[array]

    def _damaged(self, key: str, what: str) -> str:
        return (
            f"{self.root} is damaged: its chunk {key} {what}. Delete it and run the workflow again: the job that makes it "
            f"will be rerun."
        )
