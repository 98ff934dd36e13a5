"""LSUN scenes, from an unpacked LMDB database of the official archives with one encoded photograph per key.

Source: Yu et al. (2015), https://arxiv.org/abs/1506.03365.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from plumbline.datasets._download import DataFileError, own_file
from plumbline.datasets._images.photographs import PhotographsSpec
from plumbline.input_files import InputFile, ReadsFiles

if TYPE_CHECKING:
    import xarray as xr


class LSUNSpec(ReadsFiles, PhotographsSpec):
    """Scenes of one category of LSUN, with values in [0, 1]."""

    kind: Literal["lsun"] = "lsun"
    data_dir: str = "data/bedroom_train_lmdb"
    """Folder of an unpacked archive, with the file `data.mdb`."""

    def input_files(self) -> tuple[InputFile, ...]:
        path = Path(self.data_dir) / "data.mdb"
        return (InputFile("data_dir", str(path), "the LMDB of a category of LSUN"),)

    def draw(self, indices: np.ndarray, splits: np.ndarray) -> xr.Dataset:
        from plumbline.datasets._images.scenes import open_scenes

        path = own_file(self.data_dir, "data.mdb", "the LMDB of a category of LSUN")
        with open_scenes(path) as (keys, read):
            if not keys:
                raise DataFileError(
                    f"{path} contains no scenes: set `dataset.data_dir` to an unpacked archive."
                )
            chosen = [keys[i] for i in self.choice(len(keys), indices)]
            images = np.stack(
                [
                    self.square(io.BytesIO(read(key)), f"{path}, key {key.decode(errors='replace')!r}")
                    for key in chosen
                ]
            )
        return self.as_dataset(images, None, f"LSUN, {Path(self.data_dir).name}")
