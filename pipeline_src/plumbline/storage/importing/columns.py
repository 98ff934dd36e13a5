"""Import of tables with one row per sample; columns are entries of the state or of the condition."""

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
    """Imports a table as `state` (sample, component) and, if requested, `condition` (sample, parameter).

    A column `split` becomes the coordinate of this name.

    Args:
        path: path of the table.
        options: the options of the user; if they name no variable, all other columns form the state.

    Raises:
        DataFileError: a column does not exist, or contains a value that is not a number.
        ValueError: an option does not apply to tables.
    """
    import xarray as xr

    options.refuse_others(("variables", "conditions", "attributes"), path, "a table with one row per sample")
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
        raise DataFileError(f"{path} has no column for the state: `--condition` lists all of them.")
    remedy = "fill it in, or list the columns of the state with `--variable`"
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
    logger.info("%s: `state` consists of the columns %s.", path, ", ".join(fields))
    if left_out:
        logger.warning("%s: not imported: the columns %s.", path, ", ".join(left_out))
    return data
