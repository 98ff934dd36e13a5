"""Known variables of samples, and parameters of constraints: one number, one per coordinate, or one per
sample.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from plumbline.coordinates import CoordinateError, along

if TYPE_CHECKING:
    import xarray as xr

Known = Mapping[str, Tensor]


def as_tensor(values: object) -> Tensor:
    """A variable of a dataset, an array or a tensor, as a tensor."""
    if isinstance(values, Tensor):
        return values
    return torch.as_tensor(np.asarray(getattr(values, "values", values)))


def required(known: Known | xr.Dataset, variable: str, what: str) -> Tensor:
    """The variable of these samples that a constraint is bound to.

    Args:
        known: the variables of the samples, by name.
        variable: name of the variable.
        what: the key or argument that names it, for the message.

    Raises:
        ValueError: the samples do not have it.
    """
    if variable not in known:
        raise ValueError(
            f"`{what}` is the variable {variable!r}, which the samples lack; they have "
            f"{', '.join(map(str, known))}."
        )
    return as_tensor(known[variable])


def per_sample(known: Known | xr.Dataset) -> dict[str, Tensor]:
    """The numeric variables with one entry per sample, by name, without `state`."""
    found = {}
    for name, values in (known.data_vars if hasattr(known, "data_vars") else known).items():
        dims = getattr(values, "dims", ("sample",))
        if name != "state" and dims[:1] == ("sample",) and _is_numeric(values):
            found[str(name)] = as_tensor(values)
    return found


def _is_numeric(values: object) -> bool:
    dtype = getattr(values, "dtype", None)
    return isinstance(dtype, torch.dtype) or getattr(dtype, "kind", "") in "fiub"


@dataclass(frozen=True)
class Quantity:
    """A number, one number per coordinate, or a variable of the dataset with one entry per sample.

    Attributes:
        name: name of the parameter, for messages.
        values: a number (), one per coordinate (*S), or one entry per sample, (B,) or (B, *S); None before
            `bind`.
        variable: name of the variable with one entry per sample; None if all samples share the values.
    """

    name: str
    values: Tensor | None
    variable: str | None = None

    @classmethod
    def of(cls, name: str, given: float | Tensor | str) -> Quantity:
        """The quantity for an argument that is a number, a tensor (*S), or the name of a variable.

        Raises:
            ValueError: a number is NaN.
        """
        if isinstance(given, str):
            return cls(name, None, given)
        values = torch.as_tensor(given, dtype=torch.float64)
        if bool(values.isnan().any()):
            raise ValueError(f"`{name}` must not be NaN, found NaN among its values.")
        return cls(name, values)

    def bind(self, known: Known | xr.Dataset) -> Quantity:
        """The quantity with the values for these samples; itself if it is not a variable."""
        if self.variable is None:
            return self
        return Quantity(self.name, required(known, self.variable, self.name).double(), self.variable)

    def select(self, which: Tensor) -> Quantity:
        """The quantity for the samples with the indices `which`."""
        if self.variable is None or self.values is None:
            return self
        return Quantity(self.name, self.values[which.to(self.values.device)], self.variable)

    def like(self, x: Float[Tensor, "B *S"]) -> Tensor:
        """The values in double precision, in a shape that broadcasts with the samples x.

        Raises:
            ValueError: the variable is not bound, or the values do not fit the samples.
        """
        if self.values is None:
            raise ValueError(
                f"`{self.name}` is the variable {self.variable!r}, with one entry per sample: bind it with "
                "`bind`."
            )
        values = self.values.to(x.device)
        shapes: tuple[torch.Size, ...] = (torch.Size(), x.shape[1:])
        if self.variable is not None:
            if values.ndim <= 2 and values.numel() == len(x):
                values = values.reshape(len(x), *[1] * (x.ndim - 1))
                shapes = (values.shape,)
            else:
                shapes = (x.shape,)
        if values.shape not in shapes:
            raise ValueError(
                f"`{self.name}` has the shape {tuple(values.shape)}, and samples have the shape "
                f"{tuple(x.shape[1:])} in a batch of {len(x)}: give one number, one per coordinate, or a "
                "variable with one entry per sample."
            )
        return values


def given_by(example: xr.Dataset, value: float | list[float] | str, where: str) -> float | Tensor | str:
    """The argument for a key: a number, a tensor (*S), or the name of a variable with one entry per sample.

    A variable that is the same for all samples is read from `example` and returned as a tensor.

    Args:
        example: samples with their coordinates.
        value: the value of the key: a number, one number per coordinate of the flattened sample, or the
            name of a variable.
        where: the constraint and the key, for messages.

    Raises:
        ValueError: the variable does not exist, or dimensions or number of values do not fit a sample.
    """
    state = example["state"]
    if isinstance(value, str):
        variable = variable_of(example, value, where)
        if variable.dims[:1] == ("sample",):
            return value
        unknown = [str(d) for d in variable.dims if d not in state.dims]
        if unknown:
            raise ValueError(
                f"{where}: {value!r} has the dimensions ({', '.join(map(str, variable.dims))}), and samples "
                f"have ({', '.join(map(str, state.dims[1:]))}): use dimensions of the samples."
            )
        return torch.as_tensor(
            variable.broadcast_like(state[0]).transpose(*state.dims[1:]).values.copy(), dtype=torch.float64
        )
    if isinstance(value, list):
        numbers = torch.as_tensor(value, dtype=torch.float64)
        if numbers.numel() != state[0].size:
            raise ValueError(
                f"{where} has {numbers.numel()} numbers for {state[0].size} coordinates of a sample: give "
                "one number, one per coordinate, or the name of a variable."
            )
        return numbers.view(state.shape[1:])
    return float(value)


def variable_of(example: xr.Dataset, name: str, where: str) -> xr.DataArray:
    """The variable of the dataset with this name.

    Raises:
        ValueError: there is no such variable; the message lists the numeric ones.
    """
    if name not in example:
        found = ", ".join(str(v) for v in example.data_vars if example[v].dtype.kind in "fiu")
        raise ValueError(f"{where}: the dataset has no variable {name!r}; it has {found}.")
    return example[name]


def scalar_given_by(example: xr.Dataset, value: float | str, where: str) -> float | str:
    """The argument for a key: a number, or the name of a variable with one number per sample.

    A variable that holds a single number is read from `example` and returned as a number.

    Raises:
        ValueError: the variable does not exist, or holds several numbers per sample.
    """
    if not isinstance(value, str):
        return value
    variable = variable_of(example, value, where)
    if variable.dims == ("sample",):
        return value
    if variable.size != 1:
        raise ValueError(
            f"{where}: {value!r} must hold one number, or one per sample, found the shape {variable.shape}."
        )
    return float(variable)


def matrix_of(example: xr.Dataset, value: str | list[list[float]], kind: str) -> Shaped[Tensor, "m n"]:
    """The matrix for a key `matrix`, which holds rows of coefficients or the name of a variable.

    Raises:
        ValueError: the variable does not exist, or there is not one column per coordinate of a sample.
    """
    if isinstance(value, str):
        dims = [str(d) for d in example["state"].dims[1:]]
        stored = along(variable_of(example, value, f"`{kind}`: `matrix`"), dims)
        matrix = as_stored(stored.values.reshape(len(stored), -1) if stored.ndim > 2 else stored.values)
    else:
        matrix = torch.as_tensor(value, dtype=torch.float64)
    coordinates = example["state"][0].size
    if matrix.ndim != 2 or matrix.shape[1] != coordinates:
        raise ValueError(
            f"`{kind}`: `matrix` must have a column for each of the {coordinates} coordinates of a sample, "
            f"found the shape {tuple(matrix.shape)}."
        )
    return matrix


def as_stored(values: np.ndarray) -> Tensor:
    """The values in their stored dtype, whose rounding decides which rows of A count as dependent."""
    return torch.as_tensor(values, dtype=None if values.dtype.kind == "f" else torch.float64)


def axes_of(example: xr.Dataset, names: Sequence[str], where: str) -> tuple[int, ...]:
    """The axes of the named dimensions in a sample, counted from zero.

    Raises:
        CoordinateError: samples lack one of the dimensions.
    """
    dims = [str(d) for d in example["state"].dims[1:]]
    if missing := [name for name in names if name not in dims]:
        raise CoordinateError(
            f"{where} names {', '.join(missing)}, and samples have the dimensions ({', '.join(dims)}): "
            "use some of these."
        )
    return tuple(dims.index(name) for name in names)


def unit_of(example: xr.Dataset) -> str:
    """The unit of the samples."""
    return str(example["state"].attrs.get("units", "1"))
