"""Checks of every dataset before it is written: values must be finite and of numeric types.

Models are trained on `state` and `condition`. In these, integers are converted to floating point, half
precision to single precision, and other byte orders to that of the machine. Text, complex numbers and
booleans are refused. All other numeric variables must be finite too, because models and metrics read them.
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
"""Variables that models are trained on as real numbers."""
LARGEST = 1e30
"""Largest absolute value; sums of squares of larger values would leave the range of single precision."""
SINGLE_PRECISION = 1e-6
"""Ratio of standard deviation to size below which single precision does not resolve a coordinate."""
ROUNDING = 1e-12
"""Ratio of standard deviation to size below which a coordinate is constant up to rounding."""
TimeUnit = Literal["s", "min", "h", "D"]
"""Units of time that dates can be converted to."""
SECONDS: dict[TimeUnit, float] = {"s": 1.0, "min": 60.0, "h": 3600.0, "D": 86400.0}
CHANNELS = {"channel", "channels", "component", "components", "variable", "band", "field"}
"""Names of dimensions that enumerate the fields on a grid."""
GRID = {
    "x", "y", "z", "row", "rows", "column", "columns", "height", "width",
    "lat", "lon", "latitude", "longitude",
}  # fmt: skip
"""Names of the dimensions of a grid."""
FEW = 5
"""Number of sample indices that an error message shows."""


def checked(drawn: xr.Dataset, source: str, rows: Callable[[np.ndarray], np.ndarray]) -> xr.Dataset:
    """The dataset with `state` and `condition` in floating point and dates among the coordinates as numbers.

    Args:
        drawn: samples, as a dataset kind draws them.
        source: name of the source of the samples, for messages.
        rows: function from positions among the drawn samples to sample indices in the source, for messages.

    Raises:
        DataFileError: there is no `state` along `sample`, a variable has a type that models cannot use, or a
            value is missing, infinite or out of range.
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
    """Checks that all floating-point and complex values of the dataset are finite.

    Args:
        dataset: samples.
        source: name of the source of the samples, for the message.
        rows: function from positions in the dataset to sample indices in the source, for the message.

    Raises:
        DataFileError: a value is missing or infinite. The message names the variable, the number of such
            values and the first samples that contain them.
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
            where += f", where the array contains its fill value {fill:g}, which marks missing values"
        raise DataFileError(
            f"{source}: `{name}` contains {missing + infinite} values that are not finite ({missing} "
            f"missing, {infinite} infinite){where}. Leave these samples out or fill in the values."
        )


def _blocks(variable: xr.Variable) -> Iterator[tuple[int, np.ndarray]]:
    """The values block by block if they are lazy, each block with its start along the first dimension."""
    if variable.chunks is None or not variable.ndim:
        yield 0, variable.values
        return
    from dask.array.core import slices_from_chunks

    for block in slices_from_chunks(variable.chunks):
        yield block[0].start, variable[block].values


def as_numbers(dataset: xr.Dataset, source: str, time_unit: TimeUnit | None = None) -> xr.Dataset:
    """The dataset with dates and durations along the dimensions of `state` as times since the first one.

    Args:
        dataset: samples.
        source: name of the source of the samples, for the log.
        time_unit: unit of the times; seconds if None.

    Raises:
        DataFileError: a date is missing.
    """
    unit = time_unit or "s"
    chosen = {} if time_unit is None else {"time_unit": time_unit}
    for name in dataset["state"].dims[1:]:
        if name not in dataset.coords:
            continue
        values = dataset[name].values
        if values.dtype.kind in "Mm" and np.isnat(values).any():
            raise DataFileError(
                f"{source}: {int(np.isnat(values).sum())} dates of {name!r} are missing: fill in these dates."
            )
        if values.dtype.kind in "Mm":
            seconds = (values - values[0]) / np.timedelta64(1, "s")
        elif values.dtype.kind == "O" and len(values) and hasattr(values[0], "calendar"):
            seconds = np.array([(value - values[0]).total_seconds() for value in values])
        else:
            continue
        logger.info(
            "%s: the dates of %s are converted to times since the first one, in %s.", source, name, unit
        )
        attrs = {**dataset[name].attrs, "units": unit, "origin": str(values[0]), **chosen}
        numbers = np.asarray(seconds, np.float64) / SECONDS[unit]
        dataset = dataset.assign_coords({name: (name, numbers, attrs)})
    return dataset


def _require_layout(drawn: xr.Dataset, source: str) -> None:
    if "state" not in drawn:
        raise DataFileError(
            f"{source}: there is no variable `state`; there are "
            f"{', '.join(map(str, drawn.data_vars)) or 'none'}. Rename the variable that contains the "
            "samples to `state`."
        )
    dims = drawn["state"].dims
    if dims[:1] != ("sample",):
        raise DataFileError(
            f"{source}: the first dimension of `state` must be `sample`, found the dimensions "
            f"{_listed(dims)}."
        )
    if len(dims) < 2:
        raise DataFileError(
            f"{source}: `state` has one value per sample. Give it a second dimension, as in (sample, "
            "component)."
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
            f"{source}: `label` contains text or objects ({label}), expected one integer per sample: number "
            "the classes from 0, or rename the variable if it is not the class."
        )
    if "condition" in drawn:
        _require_condition(drawn, source)


def _require_condition(drawn: xr.Dataset, source: str) -> None:
    """Checks that `condition` is a vector per sample, or a field on the grid of `state`."""
    condition = drawn["condition"]
    if condition.dims[:1] != ("sample",) or condition.ndim < 2:
        raise DataFileError(
            f"{source}: `condition` must have the dimensions (sample, component), found "
            f"{_listed(condition.dims)}. Put the values of each sample along a second dimension."
        )
    if condition.ndim > 2 and not shared_dimensions(drawn):
        raise DataFileError(
            f"{source}: `condition` has the dimensions {_listed(condition.dims)}: a field must end with the "
            f"dimensions of the grid of `state`, {_listed(drawn['state'].dims)}, and a vector has two "
            "dimensions."
        )


def shared_dimensions(dataset: xr.Dataset) -> int:
    """The number of last dimensions that `condition` shares with `state`; zero if it is a vector per sample.

    A condition with one dimension beside `sample` is a field only if this is the last dimension of `state`
    and a dimension of a grid: named as in `GRID`, or periodic.
    """
    own, theirs = dataset["condition"].dims[1:], dataset["state"].dims[1:]
    shared = 0
    while shared < min(len(own), len(theirs)) and own[-1 - shared] == theirs[-1 - shared]:
        shared += 1
    if len(own) == 1 and shared:
        name = own[0]
        periodic = name in dataset.coords and "period" in dataset.coords[name].attrs
        return int(str(name).casefold() in GRID or periodic)
    return shared


def _floating(values: np.ndarray, name: str, source: str) -> np.ndarray:
    """The values in single or double precision and the byte order of the machine."""
    kind = values.dtype.kind
    if kind not in "fiu":
        what = {"b": "booleans", "c": "complex numbers", "M": "dates", "m": "durations"}.get(
            kind, "text or objects"
        )
        remedy = {
            "b": "Store them as the numbers 0 and 1.",
            "c": "Store the real and imaginary parts along a dimension of their own.",
        }.get(kind, "Store them as numbers.")
        raise DataFileError(
            f"{source}: `{name}` contains {what} ({values.dtype}), expected numbers. {remedy}"
        )
    if kind in "iu":
        single = values.astype(np.float32)
        exact = values.size == 0 or np.array_equal(single.astype(values.dtype), values)
        return single if exact else values.astype(np.float64)
    if values.dtype.itemsize < 4:
        return values.astype(np.float32)
    return values.astype(np.float64 if values.dtype.itemsize > 4 else np.float32, copy=False)


def _require_range(values: np.ndarray, name: str, source: str, *, whole: bool) -> None:
    """Checks that single precision can represent the values and resolve their variation.

    Args:
        values: values of all samples.
        name: name of the variable.
        source: name of the source of the samples, for messages.
        whole: whether the source contains integers, which have no rounding errors.
    """
    if not values.size:
        return
    largest = float(np.abs(values).max())
    if largest > LARGEST:
        raise DataFileError(
            f"{source}: `{name}` contains values up to {largest:.3g}, above {LARGEST:g}: choose a larger "
            "unit."
        )
    if len(values) < 2:
        return
    std, size = values.std(0, dtype=np.float64), np.abs(values).max(0).astype(np.float64)
    varies = (std > (0 if whole else ROUNDING * size)) & (std < SINGLE_PRECISION * size)
    if not varies.any():
        return
    place = np.unravel_index(int(np.argmax(varies)), varies.shape)
    at = f"{name}[:, {', '.join(str(i) for i in place)}]"
    found = (
        f"{int(varies.sum())} coordinates of `{name}` vary by less than a millionth of their size ({at}: by "
        f"{std[place]:.3g} at {size[place]:.3g})"
    )
    if values.dtype == np.float32 and not whole:
        logger.warning("%s: %s, which may be rounding: models treat them as constant.", source, found)
        return
    raise DataFileError(
        f"{source}: {found}, which the single precision of the models does not resolve: subtract an offset."
    )


def _listed(dims: Any) -> str:
    return f"({', '.join(str(d) for d in dims)})"
