"""Storage: zarr stores of plumbline, HDF5, tensor files, locks, provenance, and stores and files of users.

Stores and files of users are opened read-only and never changed, and no message advises to delete them.
"""

from __future__ import annotations


class CorruptStoreError(RuntimeError):
    """Raised when a store cannot be read or is incomplete."""
