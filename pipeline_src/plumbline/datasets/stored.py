"""Samples from a zarr store: written by the user's code with xarray, or imported by `plumbline import`."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from plumbline.datasets import SPLITS, DatasetSpec, SplitSizes
from plumbline.datasets._checks import TimeUnit
from plumbline.input_files import InputFile, ReadsFiles
from plumbline.spec import key

if TYPE_CHECKING:
    import xarray as xr

logger = logging.getLogger("plumbline.datasets")


class StoredSpec(ReadsFiles, DatasetSpec):
    """Samples of a zarr store, with the splits of its variable `split` or with random splits.

    If the store has a variable `split` along `sample` (`train`, `validation`, `test`), its splits and the
    order of samples are kept, and `splits` may be omitted. Otherwise the first samples of the store are used,
    in a random order that the seed determines.
    """

    # Larger than of other kinds: the samples of a block lie anywhere in the store, and each block reads the
    # chunks that they lie in.
    block_bytes: ClassVar[int] = 2**28

    kind: Literal["stored"] = "stored"
    path: str
    """Path of the store: a folder or a `.zip` file, relative to the working directory of Snakemake, or an
    address such as `s3://...`."""
    rename: dict[str, str] = key(default={})
    """New names of variables and dimensions of the store, such as `{u: state, batch: sample}`."""
    dimensions: tuple[str, ...] = ()
    """Order of the dimensions of `state` after `sample`; empty for the order in the store."""
    split_names: dict[str, str] = key(default={})
    """Splits that the names in the variable `split` stand for, such as `{valid: validation}`."""
    attributes: dict[str, float] = key(default={})
    """Attributes that constraints read and that are missing in the store, such as `viscosity`."""
    periods: dict[str, Annotated[float, Field(gt=0)]] = key(default={})
    """Periods of the periodic dimensions that have no attribute `period` in the store, by name."""
    time_unit: TimeUnit | None = None
    """Unit that dates and durations are converted to, which must match attributes such as `viscosity`; only
    for a store with dates."""

    @model_validator(mode="before")
    @classmethod
    def _splits_of_the_store(cls, values: Any) -> Any:
        """Takes the sizes of the splits from the store if the study omits them."""
        if not isinstance(values, dict) or values.get("splits") is not None or "path" not in values:
            return values
        from plumbline.datasets._download import DataFileError

        path = str(values["path"])
        try:
            stored = _renamed(path, dict(values.get("rename") or {}))
            own = _own_splits(stored, path, dict(values.get("split_names") or {}))
        except DataFileError as error:
            message = {"key": "path", "message": str(error)}
            raise PydanticCustomError("unusable_file", "{message}", message) from error
        if own is None:
            raise ValueError(f"`splits` is required: {path} has no variable `split` along `sample`")
        return {**values, "splits": {name: int((own == name).sum()) for name in SPLITS}}

    @model_validator(mode="after")
    def _known_splits(self) -> StoredSpec:
        for name, meant in self.split_names.items():
            if meant not in SPLITS:
                raise ValueError(f"`split_names.{name}` must be one of {', '.join(SPLITS)}, found {meant!r}")
        return self

    def draw(self, indices: np.ndarray, splits: np.ndarray) -> xr.Dataset:
        stored = self._arranged(_renamed(self.path, self.rename))
        order = self._order(stored)
        drawn = stored.drop_vars(["sample", "split"], errors="ignore").isel(sample=order[indices]).load()
        drawn = self._with_periods(self._with_times(drawn))
        drawn.attrs = self._with_attributes(drawn.attrs)
        return drawn

    def sample_bytes(self) -> int:
        stored = self._arranged(_renamed(self.path, self.rename))
        along = [stored[name].variable for name in stored.data_vars if "sample" in stored[name].dims]
        return sum(variable.nbytes // max(1, variable.sizes["sample"]) for variable in along)

    def source_rows(self, indices: np.ndarray) -> np.ndarray:
        return self._order(self._arranged(_renamed(self.path, self.rename)))[indices]

    def input_files(self) -> tuple[InputFile, ...]:
        return (InputFile("path", self.path, "a zarr store"),)

    def source(self) -> str:
        return self.path

    def _arranged(self, stored: xr.Dataset) -> xr.Dataset:
        """The store with `sample` first and the other dimensions of `state` in the requested order.

        Raises:
            DataFileError: there is no `state` or no dimension `sample`, or `dimensions` does not list the
                others.
        """
        from plumbline.datasets._download import DataFileError

        if "state" not in stored:
            raise DataFileError(
                f"{self.path} has no variable `state`; it has {_names(sorted(map(str, stored.data_vars)))}. "
                f"Set `dataset.rename`, as in {{{next(iter(stored.data_vars), 'u')}: state}}."
            )
        dims = [str(d) for d in stored["state"].dims]
        if "sample" not in dims:
            raise DataFileError(
                f"{self.path}: `state` has the dimensions ({', '.join(dims)}), and none is `sample`. Set "
                f"`dataset.rename`, as in {{{dims[0] if dims else 'batch'}: sample}}."
            )
        wanted = self.dimensions or tuple(d for d in dims if d != "sample")
        if sorted(wanted) != sorted(d for d in dims if d != "sample"):
            raise DataFileError(
                "`dataset.dimensions` must list the dimensions of `state` other than `sample`: expected "
                f"some order of {_names(d for d in dims if d != 'sample')}, found {_names(wanted)}."
            )
        moved = {
            name: stored[name].transpose("sample", *(wanted if name == "state" else (...,)))
            for name in stored.data_vars
            if "sample" in stored[name].dims
        }
        return stored.assign(moved)

    def _order(self, stored: xr.Dataset) -> np.ndarray:
        """The row of the store for each sample of the dataset.

        Raises:
            DataFileError: the splits do not match those of the store, or the store has too few samples.
        """
        from plumbline.datasets._download import DataFileError

        own = _own_splits(stored, self.path, self.split_names)
        if own is not None:
            found = SplitSizes.model_construct(None, **{name: int((own == name).sum()) for name in SPLITS})
            if found != self.splits:
                raise DataFileError(
                    f"{self.path} has its own splits ({_sizes(found)}), but `dataset.splits` asks for others "
                    f"({_sizes(self.splits)}): omit `splits`, or remove the variable `split` from the store."
                )
            return np.concatenate([np.flatnonzero(own == name) for name in SPLITS])
        total, there = self.splits.total, stored.sizes["sample"]
        if there < total:
            raise DataFileError(
                f"{self.path} holds {there} samples, and `splits` ask for {total}: lower them."
            )
        if there > total:
            logger.info("%s holds %d samples: the first %d are used.", self.path, there, total)
        return np.random.default_rng(self.seed).permutation(total)

    def _with_times(self, drawn: xr.Dataset) -> xr.Dataset:
        """The samples with dates converted to `time_unit`, if it is given.

        Raises:
            DataFileError: there are no dates.
        """
        from plumbline.datasets._checks import as_numbers
        from plumbline.datasets._download import DataFileError

        if self.time_unit is None:
            return drawn
        turned = as_numbers(drawn, self.path, self.time_unit)
        if not any("time_unit" in turned[d].attrs for d in turned["state"].dims if d in turned.coords):
            raise DataFileError(
                f"`dataset.time_unit`: {self.path} has no dates or durations along the dimensions of "
                "`state`: omit it."
            )
        return turned

    def _with_periods(self, drawn: xr.Dataset) -> xr.Dataset:
        from plumbline.datasets._download import DataFileError

        for name, period in self.periods.items():
            if name not in drawn["state"].dims[1:]:
                raise DataFileError(
                    f"`dataset.periods.{name}`: `state` has no dimension {name!r}; it has "
                    f"{_names(drawn['state'].dims[1:])}."
                )
            if name not in drawn.coords:
                points = drawn.sizes[name]
                logger.info(
                    "%s has no coordinate %s: its points are spaced equally over the period.", self.path, name
                )
                drawn = drawn.assign_coords({name: (name, period / points * np.arange(points))})
            marked = drawn[name].attrs.get("period", period)
            if marked != period:
                raise DataFileError(
                    f"`dataset.periods.{name}` is {period:g}, but {name!r} in {self.path} has the period "
                    f"{marked}: correct one of them."
                )
            drawn[name].attrs["period"] = period
        return drawn

    def _with_attributes(self, own: dict[str, Any]) -> dict[str, Any]:
        """The attributes of the store, without provenance that plumbline wrote, and those of the study."""
        from plumbline.datasets._download import DataFileError
        from plumbline.storage.store import is_provenance

        kept = {k: v for k, v in own.items() if "plumbline_spec" not in own or not is_provenance(k)}
        for name, value in self.attributes.items():
            if name in kept and kept[name] != value:
                raise DataFileError(
                    f"`dataset.attributes.{name}` is {value:g}, but {self.path} has {kept[name]}: correct "
                    "one of them."
                )
        return {**kept, **self.attributes}


def _renamed(path: str, names: dict[str, str]) -> xr.Dataset:
    """The store with renamed variables and dimensions.

    Raises:
        DataFileError: the store cannot be read, or has no variable or dimension of a name.
    """
    from plumbline.datasets._download import DataFileError
    from plumbline.storage.foreign import open_foreign_store

    stored = open_foreign_store(path)
    there = {*map(str, stored.variables), *map(str, stored.dims)}
    for name in names:
        if name not in there:
            raise DataFileError(
                f"`dataset.rename.{name}`: {path} has no variable or dimension of this name; it has "
                f"{_names(sorted(there))}."
            )
    try:
        return stored.rename(names)
    except ValueError as error:
        raise DataFileError(f"`dataset.rename`: {error}") from error


def _own_splits(stored: xr.Dataset, path: str, names: dict[str, str]) -> np.ndarray | None:
    """The split of each row from the variable `split`; None if there is no such variable.

    Raises:
        DataFileError: the variable contains names other than those of splits, or a split has too few samples.
    """
    from plumbline.datasets._download import DataFileError

    if "split" not in stored.variables:
        if names:
            raise DataFileError(f"`dataset.split_names`: {path} has no variable `split`: omit it.")
        return None
    if stored["split"].dims != ("sample",):
        raise DataFileError(
            f"{path}: its variable `split` has the dimensions "
            f"({', '.join(map(str, stored['split'].dims))}), expected (sample): store one name of a split "
            "per sample, or rename the variable with `dataset.rename`."
        )
    found = np.array([str(value) for value in stored["split"].values], dtype=object)
    if unused := sorted(set(names) - set(found)):
        raise DataFileError(
            f"`dataset.split_names.{unused[0]}`: the variable `split` of {path} holds "
            f"{_names(sorted(set(found)))} only."
        )
    own = np.array([names.get(value, value) for value in found], dtype=object)
    unknown = sorted(set(own) - set(SPLITS))
    if unknown:
        raise DataFileError(
            f"{path}: its variable `split` holds {_names(unknown)}, expected {', '.join(SPLITS)}. Map these "
            f"names to splits with `dataset.split_names`, as in {{{unknown[0]}: validation}}."
        )
    sizes = {name: int((own == name).sum()) for name in SPLITS}
    least = {"train": 1, "validation": 2, "test": 2}
    few = [
        f"{sizes[name]} of {name} (at least {least[name]})" for name in SPLITS if sizes[name] < least[name]
    ]
    if few:
        raise DataFileError(f"{path}: its variable `split` marks too few samples: {', '.join(few)}.")
    return own


def _sizes(splits: SplitSizes) -> str:
    return ", ".join(f"{name}: {getattr(splits, name)}" for name in SPLITS)


def _names(names: Any) -> str:
    return ", ".join(str(name) for name in names) or "none"
