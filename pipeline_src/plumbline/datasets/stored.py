"""Samples from a store on disk: written by the user's own code with xarray, or imported by `plumbline import`."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Annotated, Any, Literal

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
    """The samples of a zarr store, in the splits of its own variable `split` or in splits drawn here.

    A store with a variable `split` along `sample` (`train`, `validation`, `test`) keeps its splits and their order; `splits`
    may then be left out. Without one, the first samples are taken and the seed orders them: sample i of the dataset is the
    i-th of a permutation.
    """

    kind: Literal["stored"] = "stored"
    path: str
    """The store: a folder, a `.zip` file, or an address such as `s3://...`; relative to the folder that Snakemake runs in."""
    rename: dict[str, str] = key(default={})
    """Variables and dimensions of the store that have other names here, such as `{u: state, batch: sample}`."""
    dimensions: tuple[str, ...] = ()
    """Order of the dimensions of `state` after `sample`, by name; empty for that of the store."""
    split_names: dict[str, str] = key(default={})
    """Names in the store's `split` that stand for others, such as `{valid: validation}`."""
    attributes: dict[str, float] = key(default={})
    """Attributes that constraints read and the store lacks, such as `viscosity`."""
    periods: dict[str, Annotated[float, Field(gt=0)]] = key(default={})
    """Periods of the periodic coordinates that the store does not mark, by name."""
    time_unit: TimeUnit | None = None
    """Unit of time of the attributes, such as `viscosity`, which dates and durations are turned into; for a store that has some."""

    @model_validator(mode="before")
    @classmethod
    def _splits_of_the_store(cls, values: Any) -> Any:
        """Fills in the sizes of the store's own splits, where the study leaves them out."""
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
            raise ValueError(
                f"`splits` is required: {path} has no variable `split` along `sample` to take them from"
            )
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

    def source_rows(self, indices: np.ndarray) -> np.ndarray:
        return self._order(self._arranged(_renamed(self.path, self.rename)))[indices]

    def input_files(self) -> tuple[InputFile, ...]:
        return (InputFile("path", self.path, "a zarr store"),)

    def source(self) -> str:
        return self.path

    def _arranged(self, stored: xr.Dataset) -> xr.Dataset:
        """The store with `sample` first in every variable that has it, and `state` in the order asked for."""
        from plumbline.datasets._download import DataFileError

        if "state" not in stored:
            raise DataFileError(
                f"{self.path} has no variable `state`; it has {_names(sorted(map(str, stored.data_vars)))}. Set `dataset.rename`, as in "
                f"{{{next(iter(stored.data_vars), 'u')}: state}}."
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
                f"`dataset.dimensions` must be the dimensions of `state` beside `sample`, in an order: expected some "
                f"order of {_names(d for d in dims if d != 'sample')}, found {_names(wanted)}."
            )
        moved = {
            name: stored[name].transpose("sample", *(wanted if name == "state" else (...,)))
            for name in stored.data_vars
            if "sample" in stored[name].dims
        }
        return stored.assign(moved)

    def _order(self, stored: xr.Dataset) -> np.ndarray:
        """The row of the store that each sample of the dataset is."""
        from plumbline.datasets._download import DataFileError

        own = _own_splits(stored, self.path, self.split_names)
        if own is not None:
            found = SplitSizes.model_construct(None, **{name: int((own == name).sum()) for name in SPLITS})
            if found != self.splits:
                raise DataFileError(
                    f"{self.path} has its own splits ({_sizes(found)}), and `dataset.splits` asks for others "
                    f"({_sizes(self.splits)}): leave `splits` out, or take the variable `split` out of the store."
                )
            return np.concatenate([np.flatnonzero(own == name) for name in SPLITS])
        total, there = self.splits.total, stored.sizes["sample"]
        if there < total:
            raise DataFileError(
                f"{self.path} holds {there} samples, and `splits` ask for {total}: lower them."
            )
        if there > total:
            logger.info("%s holds %d samples: the first %d are taken.", self.path, there, total)
        return np.random.default_rng(self.seed).permutation(total)

    def _with_times(self, drawn: xr.Dataset) -> xr.Dataset:
        """The samples with their dates in the unit that the study names."""
        from plumbline.datasets._checks import as_numbers
        from plumbline.datasets._download import DataFileError

        if self.time_unit is None:
            return drawn
        turned = as_numbers(drawn, self.path, self.time_unit)
        if not any("time_unit" in turned[d].attrs for d in turned["state"].dims if d in turned.coords):
            raise DataFileError(
                f"`dataset.time_unit`: {self.path} has no dates or durations along the dimensions of `state`: leave it out."
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
                logger.info("%s has no coordinate %s: its points divide the period equally.", self.path, name)
                drawn = drawn.assign_coords({name: (name, period / points * np.arange(points))})
            marked = drawn[name].attrs.get("period", period)
            if marked != period:
                raise DataFileError(
                    f"`dataset.periods.{name}` is {period:g}, and {self.path} marks {name!r} with the period "
                    f"{marked}: correct one of them."
                )
            drawn[name].attrs["period"] = period
        return drawn

    def _with_attributes(self, own: dict[str, Any]) -> dict[str, Any]:
        """The store's attributes without those that plumbline wrote of an earlier job, and those of the study."""
        from plumbline.datasets._download import DataFileError
        from plumbline.storage.store import is_provenance

        kept = {k: v for k, v in own.items() if "plumbline_spec" not in own or not is_provenance(k)}
        for name, value in self.attributes.items():
            if name in kept and kept[name] != value:
                raise DataFileError(
                    f"`dataset.attributes.{name}` is {value:g}, and {self.path} has {kept[name]}: correct one of them."
                )
        return {**kept, **self.attributes}


def _renamed(path: str, names: dict[str, str]) -> xr.Dataset:
    """The store with the names that the study gives it.

    Raises:
        DataFileError: the store cannot be read, or lacks a name.
    """
    from plumbline.datasets._download import DataFileError
    from plumbline.storage.foreign import open_foreign_store

    stored = open_foreign_store(path)
    there = {*map(str, stored.variables), *map(str, stored.dims)}
    for name in names:
        if name not in there:
            raise DataFileError(
                f"`dataset.rename.{name}`: {path} has no such name; it has {_names(sorted(there))}."
            )
    try:
        return stored.rename(names)
    except ValueError as error:
        raise DataFileError(f"`dataset.rename`: {error}") from error


def _own_splits(stored: xr.Dataset, path: str, names: dict[str, str]) -> np.ndarray | None:
    """The split of each row, by the store's variable `split`; None where it has none.

    Raises:
        DataFileError: it holds other names than those of splits, or a split has too few samples.
    """
    from plumbline.datasets._download import DataFileError

    if "split" not in stored.variables:
        if names:
            raise DataFileError(f"`dataset.split_names`: {path} has no variable `split`: leave it out.")
        return None
    if stored["split"].dims != ("sample",):
        raise DataFileError(
            f"{path}: its variable `split` has the dimensions ({', '.join(map(str, stored['split'].dims))}), expected (sample): "
            f"give each sample the name of its split, or call the variable something else by `dataset.rename`."
        )
    found = np.array([str(value) for value in stored["split"].values], dtype=object)
    if unused := sorted(set(names) - set(found)):
        raise DataFileError(
            f"`dataset.split_names.{unused[0]}`: the variable `split` of {path} holds {_names(sorted(set(found)))} only."
        )
    own = np.array([names.get(value, value) for value in found], dtype=object)
    unknown = sorted(set(own) - set(SPLITS))
    if unknown:
        raise DataFileError(
            f"{path}: its variable `split` holds {_names(unknown)}, expected {', '.join(SPLITS)}. Say which is meant "
            f"by `dataset.split_names`, as in {{{unknown[0]}: validation}}."
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
