"""Linear equalities A x = k: element balances, budgets, totals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from plumbline.constraints import ConstraintSpec
from plumbline.coordinates import along

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr
    from torch import Tensor

    from plumbline.constraints._linear_equality import LinearEquality


class LinearEqualitySpec(ConstraintSpec):
    """A x = k over the flattened coordinates of a sample."""

    kind: Literal["linear_equality"] = "linear_equality"
    matrix: str | list[list[float]]
    """A: rows of coefficients, or the name of the dataset's variable that holds it."""
    target: str | list[float]
    """k: one number a row, or the name of the dataset's variable that holds it, for all samples or one a sample."""

    def build(self, example: xr.Dataset) -> LinearEquality:
        import torch

        from plumbline.constraints._linear_equality import LinearEquality

        matrix = self._matrix(example)
        unit = str(example["state"].attrs.get("units", "1"))
        if not isinstance(self.target, str):
            return LinearEquality(matrix, torch.as_tensor(self.target, dtype=torch.float64), unit=unit)
        target = _variable(example, self.target, f"`{self.kind}`: `target`")
        if target.dims[:1] != ("sample",):
            return LinearEquality(matrix, _as_stored(target.values), unit=unit)
        if target.shape[1:] != (len(matrix),):
            raise ValueError(
                f"`{self.kind}`: `target`: {self.target!r} must hold {len(matrix)} numbers a sample, one a row of the "
                f"matrix, found the shape {target.shape[1:]}."
            )
        return LinearEquality(matrix, None, target_variable=self.target, unit=unit)

    def _matrix(self, example: xr.Dataset) -> Tensor:
        import torch

        if isinstance(self.matrix, str):
            where = f"`{self.kind}`: `matrix`"
            stored = along(
                _variable(example, self.matrix, where), [str(d) for d in example["state"].dims[1:]]
            )
            matrix = _as_stored(stored.values.reshape(len(stored), -1) if stored.ndim > 2 else stored.values)
        else:
            matrix = torch.as_tensor(self.matrix, dtype=torch.float64)
        coordinates = example["state"][0].size
        if matrix.ndim != 2 or matrix.shape[1] != coordinates:
            raise ValueError(
                f"`{self.kind}`: `matrix` must have a column for each of the {coordinates} numbers of a sample, found the "
                f"shape {tuple(matrix.shape)}."
            )
        return matrix

    def provides(self) -> tuple[str, ...]:
        return ("project", "condition", "matrix")


def _variable(example: xr.Dataset, name: str, where: str) -> xr.DataArray:
    """A numeric variable of the dataset.

    Raises:
        ValueError: there is none of this name.
    """
    if name not in example:
        found = ", ".join(str(v) for v in example.data_vars if example[v].dtype.kind in "fiu")
        raise ValueError(f"{where}: the dataset has no variable {name!r}; it has {found}.")
    return example[name]


def _as_stored(values: np.ndarray) -> Tensor:
    """Numbers in the dtype that they came in, whose rounding tells which rows of A depend on each other."""
    import torch

    return torch.as_tensor(values, dtype=None if values.dtype.kind == "f" else torch.float64)
