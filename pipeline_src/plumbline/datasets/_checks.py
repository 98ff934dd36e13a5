"""What every drawn dataset is checked for before it is written: finite numbers, in types that models compute with.

`state` and `condition` are what models learn from. Whole numbers among them become floating point, half precision becomes
single, and a foreign byte order the machine's own; text, complex numbers and booleans are refused. Every other numeric
variable along `sample` is read by some model or metric, so that it must be finite too.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from plumbline.datasets._download import DataFileError
from plumbline.datasets._graphs import check_padded

if TYPE_CHECKING:
    import xarray as xr

logger = logging.getLogger("plumbline.datasets")

CONTINUOUS = ("state", "condition")
"""Variables that models learn from as real numbers."""
LARGEST = 1e30
"""Largest absolute value: the square of a larger one, summed, leaves the range of single precision."""
SINGLE_PRECISION = 1e-6
"""Standard deviation over size under which single precision does not resolve a coordinate."""
ROUNDING = 1e-12
"""Standard deviation over size under which a coordinate is a constant with rounding in double precision."""
TimeUnit = Literal["s", "min", "h", "D"]
"""Units of time that dates are turned into."""
SECONDS: dict[TimeUnit, float] = {"s": 1.0, "min": 60.0, "h": 3600.0, "D": 86400.0}
CHANNELS = {"channel", "channels", "component", "components", "variable", "band", "field"}
"""Names of dimensions that count the fields on a grid."""
GRID = {
    "x", "y", "z", "row", "rows", "column", "columns", "height", "width", "lat", "lon", "latitude", "longitude",
}  # fmt: skip
"""Names of the dimensions of a grid."""
FEW = 5
"""Indices that an error shows."""


def checked(drawn: xr.Dataset, source: str, rows: Callable[[np.ndarray], np.ndarray]) -> xr.Dataset:
    """The dataset with `state` and `condition` in floating point and coordinates in numbers.

    Args:
        drawn: samples, as a dataset kind draws them.
        source: what they were read from or drawn by, for the messages.
        rows: the numbers by which the source knows samples, from their places among those drawn.

    Raises:
        DataFileError: there is no `state` along `sample`, a variable has a type that models cannot take, or a value is
            missing, infinite or out of range.
    """
    _require_layout(drawn, source)
    converted = {
        name: drawn[name].copy(data=_floating(drawn[name].values, name, source))
        for name in CONTINUOUS
        if name in drawn
    }
    result = as_numbers(drawn.assign(converted), source)
    refuse_non_finite(result, source, rows)
    if "bonds" in result and "species" in result:
        check_padded(result, source)
    for name in CONTINUOUS:
        if name in result:
            _require_range(result[name].values, name, source, whole=drawn[name].dtype.kind in "iu")
    return result


def refuse_non_finite(
    dataset: xr.Dataset, source: str, rows: Callable[[np.ndarray], np.ndarray] = np.asarray
) -> None:
    """Checks that every number of the dataset is finite.

    Args:
        dataset: samples.
        source: what they were read from or drawn by, for the message.
        rows: the numbers by which the source knows samples, from their places in the dataset.

    Raises:
        DataFileError: naming the variable, how many numbers are not, and the first samples that hold them.
    """
    for name, variable in dataset.variables.items():
        if variable.dtype.kind not in "fc":
            continue
        missing = infinite = 0
        places: set[int] = set()
        for start, values in _blocks(variable):
            bad = ~np.isfinite(values)
            if bad.any():
                missing += int(np.isnan(values).sum())
                infinite += int(bad.sum() - np.isnan(values).sum())
                if variable.dims[:1] == ("sample",):
                    places |= set((start + np.flatnonzero(bad.reshape(len(values), -1).any(1))).tolist())
        if not missing + infinite:
            continue
        where = ""
        if places:
            named = np.sort(rows(np.array(sorted(places))))
            shown = ", ".join(str(row) for row in named[:FEW])
            where = f", in {len(named)} samples ({shown}{', ...' if len(named) > FEW else ''})"
        fill = variable.encoding.get("_FillValue", np.nan)
        if missing and not np.isnan(fill):
            where += f", where the array holds its fill value {fill:g}, which marks missing numbers"
        raise DataFileError(
            f"{source}: `{name}` holds {missing + infinite} values that are not finite ({missing} missing, "
            f"{infinite} infinite){where}. Leave these samples out or fill the values in."
        )


def _blocks(variable: xr.Variable) -> Iterator[tuple[int, np.ndarray]]:
    """The values in the blocks that they are lazy in, each with its place along the first dimension."""
    if variable.chunks is None or not variable.ndim:
        yield 0, variable.values
        return
    from dask.array.core import slices_from_chunks

    for block in slices_from_chunks(variable.chunks):
        yield block[0].start, variable[block].values


def as_numbers(dataset: xr.Dataset, source: str, time_unit: TimeUnit | None = None) -> xr.Dataset:
    """The dataset with the dates and durations among the coordinates of `state` as numbers from the first one.

    Args:
        dataset: samples.
        source: what they were read from, for the log.
        time_unit: the unit of the numbers; seconds, unless it is given.
    """
    unit = time_unit or "s"
    chosen = {} if time_unit is None else {"time_unit": time_unit}
    for name in dataset["state"].dims[1:]:
        if name not in dataset.coords:
            continue
        values = dataset[name].values
        if values.dtype.kind in "Mm" and np.isnat(values).any():
            raise DataFileError(
                f"{source}: {int(np.isnat(values).sum())} dates of {name!r} are missing: fill them in."
            )
        if values.dtype.kind in "Mm":
            seconds = (values - values[0]) / np.timedelta64(1, "s")
        elif values.dtype.kind == "O" and len(values) and hasattr(values[0], "calendar"):
            seconds = np.array([(value - values[0]).total_seconds() for value in values])
        else:
            continue
        logger.info("%s: the dates of %s are kept as times from the first one, in %s.", source, name, unit)
        attrs = {**dataset[name].attrs, "units": unit, "origin": str(values[0]), **chosen}
        numbers = np.asarray(seconds, np.float64) / SECONDS[unit]
        dataset = dataset.assign_coords({name: (name, numbers, attrs)})
    return dataset


def _require_layout(drawn: xr.Dataset, source: str) -> None:
    if "state" not in drawn:
        raise DataFileError(
            f"{source}: there is no variable `state`; there are {', '.join(map(str, drawn.data_vars)) or 'none'}. "
            f"Name the one that holds the samples `state`."
        )
    dims = drawn["state"].dims
    if dims[:1] != ("sample",):
        raise DataFileError(
            f"{source}: the first dimension of `state` must be `sample`, found the dimensions {_listed(dims)}."
        )
    if len(dims) < 2:
        raise DataFileError(
            f"{source}: `state` holds one number a sample. Give it a second dimension, as in (sample, component)."
        )
    grid = [d for d in dims[1:] if str(d).casefold() in GRID]
    channels = [d for d in dims[1:] if str(d).casefold() in CHANNELS]
    if grid and channels and dims.index(channels[-1]) > dims.index(grid[0]):
        wanted = [*(d for d in dims[1:] if d not in grid), *grid]
        raise DataFileError(
            f"{source}: the last dimensions of `state` must be those of its grid, found {_listed(dims)}: set "
            f"`dataset.dimensions` to [{', '.join(map(str, wanted))}]."
        )
    label = drawn["label"].dtype if "label" in drawn else np.dtype(np.int64)
    if label.kind not in "iufb":
        raise DataFileError(
            f"{source}: `label` holds text or objects ({label}), expected a whole number a sample: number the classes from 0 "
            f"on, or call the variable something else if it is not the class."
        )
    if "condition" in drawn and (drawn["condition"].dims[:1] != ("sample",) or drawn["condition"].ndim != 2):
        raise DataFileError(
            f"{source}: `condition` must have the dimensions (sample, component), found "
            f"{_listed(drawn['condition'].dims)}. Give each number of a sample its place along a second dimension."
        )


def _floating(values: np.ndarray, name: str, source: str) -> np.ndarray:
    """The values in single or double precision and the machine's byte order."""
    kind = values.dtype.kind
    if kind not in "fiu":
        what = {"b": "booleans", "c": "complex numbers", "M": "dates", "m": "durations"}.get(
            kind, "text or objects"
        )
        remedy = {
            "b": "Store them as the numbers 0 and 1.",
            "c": "Store the real and imaginary parts along a dimension of their own.",
        }.get(kind, "Store them as numbers.")
        raise DataFileError(f"{source}: `{name}` holds {what} ({values.dtype}), expected numbers. {remedy}")
    if kind in "iu":
        single = values.astype(np.float32)
        exact = values.size == 0 or np.array_equal(single.astype(values.dtype), values)
        return single if exact else values.astype(np.float64)
    if values.dtype.itemsize < 4:
        return values.astype(np.float32)
    return values.astype(np.float64 if values.dtype.itemsize > 4 else np.float32, copy=False)


def _require_range(values: np.ndarray, name: str, source: str, *, whole: bool) -> None:
    """Checks that single precision holds the values, and resolves how they vary.

    Args:
        values: of all samples.
        name: the variable.
        source: what it was read from.
        whole: whether the source holds whole numbers, which have no rounding.
    """
    if not values.size:
        return
    largest = float(np.abs(values).max())
    if largest > LARGEST:
        raise DataFileError(
            f"{source}: `{name}` holds values up to {largest:.3g}, over {LARGEST:g}: choose a larger unit."
        )
    if len(values) < 2:
        return
    std, size = values.std(0, dtype=np.float64), np.abs(values).max(0).astype(np.float64)
    varies = (std > (0 if whole else ROUNDING * size)) & (std < SINGLE_PRECISION * size)
    if not varies.any():
        return
    place = np.unravel_index(int(np.argmax(varies)), varies.shape)
    at = f"{name}[:, {', '.join(str(i) for i in place)}]"
    said = (
        f"{int(varies.sum())} coordinates of `{name}` vary by less than a millionth of their size ({at}: by "
        f"{std[place]:.3g} at {size[place]:.3g})"
    )
    if values.dtype == np.float32 and not whole:
        logger.warning("%s: %s, which may be rounding: models take them for constant.", source, said)
        return
    raise DataFileError(
        f"{source}: {said}, which single precision, that models compute in, does not resolve: subtract an offset."
    )


def _listed(dims: Any) -> str:
    return f"({', '.join(str(d) for d in dims)})"
