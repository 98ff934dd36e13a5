"""The fields, parameters and coordinates of an imported file, and their conversion to a dataset.

A single field becomes `state`. Several fields become `state` with the dimension `channel`, labelled by their
names, or `component`, labelled u, v, w, if they are the velocities. A single parameter that is a field on the
grid of the state becomes `condition` as it is. Other parameters become `condition` (sample, parameter), in
which fields are flattened. A parameter that is a field is also stored under its own name. Time comes before
space, and channels before the grid, which is the last two dimensions.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from plumbline.datasets._download import DataFileError
from plumbline.storage.importing.axes import CANONICAL

if TYPE_CHECKING:
    import xarray as xr

logger = logging.getLogger("plumbline.storage")

VELOCITIES = (("Vx", "Vy", "Vz"), ("u", "v", "w"), ("velocity_x", "velocity_y", "velocity_z"))
LARGEST_CONDITION = 2**16
"""Entries per sample above which a field becomes a condition only if the user requests it."""
SINGLE_PRECISION_WHOLE = 2**24
"""Largest integer up to which all integers are exact in single precision."""


@dataclass
class Found:
    """The content of a file.

    Attributes:
        layout: name of the layout, for the log.
        fields: variables that form the state, by name; one of their dimensions may be `channel`.
        parameters: variables along `sample` that form the condition, by name.
        beside: variables that are stored under their own names.
        coords: coordinates, by dimension.
        attrs: attributes of the dataset.
        left_out: reasons for which variables and attributes are not imported, by name.
        asked: whether the user named the condition.
        own_channels: whether a dimension `channel` of a single field is kept with its own coordinate, if any.
    """

    layout: str
    fields: dict[str, xr.Variable] = field(default_factory=dict)
    parameters: dict[str, xr.Variable] = field(default_factory=dict)
    beside: dict[str, xr.Variable] = field(default_factory=dict)
    coords: dict[str, xr.Variable] = field(default_factory=dict)
    attrs: dict[str, Any] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    asked: bool = False
    own_channels: bool = False

    def dataset(self, path: str) -> xr.Dataset:
        """The lazy dataset with `state` and, if there are parameters, `condition`.

        Args:
            path: path of the file, for messages.

        Raises:
            DataFileError: the shapes of fields or coordinates do not match, or a field does not contain
                numbers.
        """
        import xarray as xr

        state, labels = self._state(path)
        condition = self._condition(path, [str(dim) for dim in state.dims])
        self._leave_out_taken_names({*map(str, state.dims), *labels})
        variables: dict[str, Any] = {"state": state, **condition, **self.beside}
        used = {dim for variable in variables.values() for dim in variable.dims}
        coords = {**{name: v for name, v in self.coords.items() if used.issuperset(v.dims)}, **labels}
        coords = {name: _native(coordinate) for name, coordinate in coords.items()}
        if condition and "parameter" in condition["condition"].dims:
            coords["parameter"] = xr.Variable("parameter", np.array(self._labels(), dtype=object))
        for name in sorted(set(self.coords) - set(coords)):
            self.left_out[name] = "a coordinate of a dimension that no imported variable has"
        for name, variable in {**variables, **coords}.items():
            for dim, size in zip(variable.dims, variable.shape, strict=True):
                own = state.sizes.get(dim, size)
                if own != size:
                    raise DataFileError(
                        f"{path}: `{name}` has {size} values along {dim}, but the state has {own}. Correct "
                        f"the file, or leave the coordinate out with `--coordinate {dim}=`."
                    )
        self._log(path, state)
        return xr.Dataset(variables, coords=coords, attrs=self.attrs)

    def _leave_out_taken_names(self, dims: set[str]) -> None:
        """Removes variables whose names have another meaning in the dataset."""
        taken = {"state", "sample", "parameter", *self.coords, *dims}
        own = self.beside.get("condition")
        if self.parameters or own is None or own.ndim != 2 or own.dims[0] != "sample":
            taken.add("condition")
        for name in taken & set(self.beside):
            del self.beside[name]
            if name not in self.parameters:
                self.left_out[name] = "its name has another meaning in the dataset: rename it"

    def _state(self, path: str) -> tuple[xr.Variable, dict[str, xr.Variable]]:
        import xarray as xr

        for name, variable in self.fields.items():
            if not variable.size:
                raise DataFileError(f"{path}: `{name}` is empty ({_sizes(variable)}).")
        alone = len(self.fields) == 1 and (self.own_channels or "channel" not in variable.dims)
        parts = [
            (label, numeric(part, name, path))
            for name, variable in self.fields.items()
            for label, part in ([(name, variable)] if alone else _channels(name, variable))
        ]
        sizes = {tuple(sorted(part.sizes.items())) for _, part in parts}
        if len(sizes) > 1:
            shown = ", ".join(f"{label} ({_sizes(part)})" for label, part in parts)
            raise DataFileError(
                f"{path}: the fields have different sizes: {shown}. For fields on the faces of cells, "
                "`--faces mean` takes the mean of neighbouring faces; otherwise choose matching fields "
                "with `--variable`."
            )
        if "sample" not in parts[0][1].dims:
            raise DataFileError(
                f"{path}: `{parts[0][0]}` has no dimension `sample`. List its dimensions, as in "
                "`--dims sample,time,x`."
            )
        if alone:
            return parts[0][1].transpose(*_ordered(parts[0][1].dims, None)), {}
        labels = [label for label, _ in parts]
        velocities = any(tuple(labels) == names[: len(labels)] for names in VELOCITIES) and len(labels) > 1
        dim = "component" if velocities else "channel"
        state = xr.Variable.concat([part for _, part in parts], dim)
        state = state.transpose(*_ordered(state.dims, dim))
        state.attrs = {"long_name": "velocity"} if velocities else {}
        own = ["u", "v", "w"][: len(labels)] if velocities else labels
        return state, {dim: xr.Variable(dim, np.array(own, dtype=object))}

    def _condition(self, path: str, dims: list[str]) -> dict[str, xr.Variable]:
        import dask.array as da
        import xarray as xr

        columns = []
        for name in list(self.parameters):
            variable = numeric(self.parameters[name], name, path).transpose("sample", ...)
            self.parameters[name] = variable
            entries = int(np.prod(variable.shape[1:], dtype=np.int64))
            if variable.ndim > 1:
                self.beside[name] = variable
            if entries > LARGEST_CONDITION and not self.asked:
                del self.parameters[name]
                logger.info(
                    "%s: `%s` has %d entries per sample and is kept as a variable; `--condition %s` makes "
                    "it the condition.",
                    path, name, entries, name,
                )  # fmt: skip
                continue
            columns.append(da.reshape(da.asarray(variable.data), (variable.shape[0], entries)))
        if len(self.parameters) == 1:
            (variable,) = self.parameters.values()
            own = sorted(map(str, variable.dims[1:]), key=lambda dim: dims.index(dim) if dim in dims else 0)
            if own and own == dims[1:][-len(own) :]:
                return {"condition": variable.transpose("sample", *own)}
        return (
            {"condition": xr.Variable(("sample", "parameter"), da.concatenate(columns, 1))} if columns else {}
        )

    def _labels(self) -> list[str]:
        labels = []
        for name, variable in self.parameters.items():
            places = list(np.ndindex(variable.shape[1:]))
            labels += [f"{name}[{', '.join(map(str, place))}]" if place else name for place in places]
        return labels

    def _log(self, path: str, state: xr.Variable) -> None:
        logger.info(
            "%s (%s): `state` (%s) consists of %s.", path, self.layout, _sizes(state), ", ".join(self.fields)
        )
        if self.parameters:
            logger.info("%s: `condition` consists of %s.", path, ", ".join(self.parameters))
        if self.beside:
            logger.info("%s: stored under their own names: %s.", path, ", ".join(self.beside))
        if self.attrs:
            logger.info("%s: attributes: %s.", path, ", ".join(map(str, self.attrs)))
        for name, reason in self.left_out.items():
            logger.warning("%s: not imported: %s (%s).", path, name, reason)


def numeric(variable: xr.Variable, name: str, path: str) -> xr.Variable:
    """The variable in single or double precision and the byte order of the machine, lazy if it was lazy.

    Args:
        variable: the variable.
        name: its name, for the error message.
        path: path of the file, for the error message.

    Raises:
        DataFileError: the variable contains complex numbers, booleans, dates, durations, text or objects.
    """
    dtype = variable.dtype
    if dtype.kind not in "fiu":
        what = {"c": "complex numbers", "b": "booleans", "M": "dates", "m": "durations"}.get(
            dtype.kind, "text or objects"
        )
        remedy = {
            "c": "Write the real and the imaginary parts as separate variables",
            "b": "Write them as the numbers 0 and 1",
        }.get(dtype.kind, "Choose another variable with `--variable`")
        raise DataFileError(f"{path}: `{name}` holds {what} ({dtype}), expected numbers. {remedy}.")
    if dtype.kind == "f":
        return variable.astype(np.float64 if dtype.itemsize > 4 else np.float32)
    if dtype.itemsize <= 2:
        return variable.astype(np.float32)
    largest = max((abs(float(np.asarray(end()))) for end in (variable.max, variable.min)), default=0.0)
    return variable.astype(np.float32 if largest <= SINGLE_PRECISION_WHOLE else np.float64)


def _native(variable: xr.Variable) -> xr.Variable:
    """A coordinate in the byte order of the machine, with half precision converted to single."""
    dtype = variable.dtype
    if dtype.kind == "f":
        return variable.astype(np.float64 if dtype.itemsize > 4 else np.float32)
    return variable if dtype.isnative else variable.astype(dtype.newbyteorder("="))


def _channels(name: str, variable: xr.Variable) -> list[tuple[str, xr.Variable]]:
    if "channel" not in variable.dims:
        return [(name, variable)]
    labels = variable.attrs.get("labels") or [f"{name}_{i}" for i in range(variable.sizes["channel"])]
    return [(label, variable.isel(channel=i)) for i, label in enumerate(labels)]


def _ordered(dims: tuple[Any, ...], channel: str | None) -> list[str]:
    """The dimensions with `sample` first, time before space, and the channels before the grid."""
    own = [str(dim) for dim in dims if dim != channel]
    known = all(dim in CANONICAL for dim in own)
    rest = [d for d in (CANONICAL if known else own) if d in own and d != "sample"]
    if channel is not None:
        space = [d for d in rest if d != "time"]
        place = 0 if len(space) < 2 else len(rest) - len(space)
        rest.insert(place, channel)
    return ["sample", *rest]


def _sizes(variable: xr.Variable) -> str:
    return ", ".join(f"{dim}: {size}" for dim, size in variable.sizes.items())
