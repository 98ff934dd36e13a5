"""Tables: a row a sample, a column a number of its state or of its condition."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from plumbline.datasets._download import DataFileError
from plumbline.storage.importing.options import ImportOptions
from plumbline.storage.tables import numbers_of, read_table

if TYPE_CHECKING:
    import xarray as xr

logger = logging.getLogger("plumbline.storage")


def import_table(path: str, options: ImportOptions) -> xr.Dataset:
    """The columns that the options name, or all, as `state` (sample, component); a column `split` says the splits.

    Raises:
        DataFileError: a column is not there, or holds what is no number.
    """
    import xarray as xr

    options.refuse_others(("variables", "conditions", "attributes"), path, "a table, a row a sample")
    table = read_table(Path(path))
    columns = [str(name) for name in table.columns]
    table.columns = columns
    for option, names in (("--variable", options.variables), ("--condition", options.conditions)):
        for name in names:
            if name not in columns:
                raise DataFileError(
                    f"`{option} {name}`: {path} has no such column; it has {', '.join(columns)}."
                )
    taken = {*options.conditions, "split"}
    fields = list(options.variables) or [name for name in columns if name not in taken]
    if not fields:
        raise DataFileError(f"{path} has no column for the state: all are taken by `--condition`.")
    remedy = "fill it in, or name the columns of the state by `--variable`"
    variables = {"state": (("sample", "component"), numbers_of(Path(path), table[fields], remedy))}
    coords = {"component": np.array(fields, dtype=object)}
    if options.conditions:
        values = numbers_of(Path(path), table[list(options.conditions)], "fill it in")
        variables["condition"] = (("sample", "parameter"), values)
        coords["parameter"] = np.array(options.conditions, dtype=object)
    data = xr.Dataset(variables, coords=coords)
    if "split" in columns and "split" not in fields:
        data = data.assign_coords(split=("sample", table["split"].astype(str).to_numpy(object)))
    left_out = [name for name in columns if name not in {*fields, *taken}]
    logger.info("%s: `state` is made of the columns %s.", path, ", ".join(fields))
    if left_out:
        logger.warning("%s: not imported: the columns %s.", path, ", ".join(left_out))
    return data
