"""Samples drawn by another program, read from a file and evaluated like those of any method.

A method `samples: path` has no model and draws nothing: sample i of a seed is row i of the file. A sampler of
any framework can thus be compared on the same test samples with the same metrics. The file may record the
cost of its samples; otherwise it is unknown.
"""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from zipfile import BadZipFile

from plumbline.input_files import InputFile, ReadsFiles
from plumbline.samplers import SamplerSpec
from plumbline.samplers._task import Costs, Samples, SamplingTask
from plumbline.spec import key

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr

SUFFIXES = (".npz", ".npy", ".zarr")


class SamplesFileError(ValueError):
    """A file of samples does not contain what the study requires."""


class FromFileSpec(ReadsFiles, SamplerSpec):
    """Samples of another program, from a NumPy file or a zarr store. A method `samples: path` uses it."""

    kind: Literal["from_file"] = "from_file"
    path: str = key(min_length=1)
    """A file `.npz` or `.npy`, or a store `.zarr`, with the samples (N, ...) in the data's unit. If it
    contains several arrays, the samples are the array `state`. `{seed}` is replaced by the seed."""

    def input_files(self) -> tuple[InputFile, ...]:
        if "{seed}" not in self.path:
            return (InputFile("path", self.path, "the samples"),)
        found = sorted(Path(self.path).parent.glob(Path(self.path).name.replace("{seed}", "*")))
        what = "the samples of a seed"
        return tuple(InputFile("path", str(file), what) for file in found) or (
            InputFile("path", self.path, what),
        )

    def draw(self, model: object, task: SamplingTask) -> Samples:
        """Reads the rows of the file that belong to the task.

        Raises:
            SamplesFileError: the file has another format or too few samples, or its samples have another
                shape or type.
        """
        import numpy as np
        import torch

        states, costs = read_samples(Path(self.path.replace("{seed}", str(task.seed))))
        shape = tuple(task.batch["state"].shape)
        if states.shape[1:] != shape[1:]:
            raise SamplesFileError(
                f"{self.path}: samples have the shape {states.shape[1:]}, and those of the dataset have the "
                f"shape {shape[1:]}"
            )
        chosen = np.array(states[task.first : task.first + shape[0]])
        if len(chosen) < shape[0]:
            raise SamplesFileError(
                f"{self.path}: contains {len(states)} samples, and the study requires more (`samples.count`)"
            )
        bad = ~np.isfinite(chosen.reshape(len(chosen), -1)).all(1)
        if bad.any():
            sample = task.first + int(bad.argmax())
            raise SamplesFileError(f"{self.path}: sample {sample} has values that are not finite")
        return Samples(torch.as_tensor(chosen).double().to(task.device), {}, costs)

    def requires_of_model(self) -> type:
        return type(None)

    def is_timed(self) -> bool:
        return False


def read_samples(path: Path) -> tuple[np.ndarray | xr.Variable, Costs]:
    """The samples (N, ...) of a file, of which a slice is read when it is taken, and the cost of one sample.

    The array of a `.npz` file is read as a whole, once for all batches. The costs `network_evaluations`,
    `backward_passes` and `projection_solves` are scalar arrays of a `.npz` file or attributes of a zarr
    store. A cost that the file does not record is NaN.

    Raises:
        SamplesFileError: the file is missing, has another format, or has no numeric array of samples.
    """
    import numpy as np

    if path.suffix not in SUFFIXES:
        raise SamplesFileError(
            f"{path}: samples are read from {', '.join(SUFFIXES)}, found {path.suffix or 'no suffix'!r}"
        )
    if not path.exists():
        raise SamplesFileError(f"{path}: there is no such file")
    known: dict[str, object] = {}
    if path.suffix == ".zarr":
        from plumbline.storage.foreign import open_foreign_store

        store = open_foreign_store(str(path))
        arrays: dict[str, np.ndarray | xr.Variable] = {
            str(name): array.variable for name, array in store.data_vars.items()
        }
        known = {str(name): value for name, value in store.attrs.items()}
    else:
        try:
            arrays = dict(_numpy_arrays(path, path.stat().st_mtime_ns))
        except (ValueError, EOFError, BadZipFile, AttributeError) as error:
            raise SamplesFileError(f"{path}: cannot be read as {path.suffix}: {error}") from error
    known |= {
        name: float(np.asarray(array))
        for name, array in arrays.items()
        if array.ndim == 0 and array.dtype.kind in "iuf"
    }
    states = {name: array for name, array in arrays.items() if array.ndim > 1}
    if "state" not in states and len(states) != 1:
        raise SamplesFileError(
            f"{path}: expected one array of samples, or one called `state`, found {', '.join(arrays)}"
        )
    found = states["state"] if "state" in states else next(iter(states.values()))
    if found.dtype.kind not in "fiu":
        raise SamplesFileError(f"{path}: samples must be real numbers, found {found.dtype}")
    costs = [
        known.get(name, math.nan) for name in ("network_evaluations", "backward_passes", "projection_solves")
    ]
    return found, Costs(*(float(cost) if isinstance(cost, int | float) else math.nan for cost in costs))


@lru_cache(maxsize=1)
def _numpy_arrays(path: Path, modified: int) -> dict[str, np.ndarray]:
    """The arrays of a NumPy file by name; that of a `.npy` file stays on disk."""
    import numpy as np

    if path.suffix == ".npy":
        return {"state": np.load(path, mmap_mode="r", allow_pickle=False)}
    with np.load(path, allow_pickle=False) as loaded:
        return {name: loaded[name] for name in loaded.files}
