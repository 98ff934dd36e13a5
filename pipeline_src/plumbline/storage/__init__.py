"""What lies on disk: zarr stores of ours, HDF5, files of tensors, locks, origins, and the stores and files of users.

Stores and files of users are opened read-only, never changed, and never advised to be deleted.
"""

from __future__ import annotations


class CorruptStoreError(RuntimeError):
    """A store that cannot be read, or lacks what it should hold."""
