r"""Linear equalities on fields: fixed values at given places, and totals over axes.

Both are a `LinearEquality` whose map stores no matrix, so projecting, conditioning and completing cost O(n).

- `Fixed`: x_i = k_i at some places. A selects these coordinates, and the projection sets them to k.
- `Conserved`: totals M = sum_i w_i x_i over some axes, one total for each place along the other axes. The
  totals are either given, M = k, or constant along an axis, M_t - M_0 = 0. In the second case the projection
  moves every total to the common value c = sum_t (M_t / g_t) / sum_t (1 / g_t), where g_t is the sum of the
  squared weights at t.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from plumbline.constraints._known import as_tensor
from plumbline.constraints._linear_equality import LinearEquality
from plumbline.linalg.drift import SumDifferences
from plumbline.linalg.maps import GroupSum

if TYPE_CHECKING:
    import xarray as xr


class _FieldEquality(LinearEquality):
    """A linear equality whose per-sample targets are entries of a variable.

    Args:
        linear_map: A.
        target: k for all samples; None if `bind` provides it.
        target_variable: name of the variable that holds the targets of each sample.
        source: for each row, the index of its target in the flattened variable; None if the variable has
            one entry per row, in order, or a single entry for all rows.
        unit: unit of the residual.
    """

    def __init__(
        self,
        linear_map: GroupSum | SumDifferences,
        target: Tensor | None,
        *,
        target_variable: str | None,
        source: Int[Tensor, " m"] | None,
        unit: str,
    ) -> None:
        self._source = source
        super().__init__(linear_map, target, target_variable=target_variable, unit=unit)

    def bind(self, known: Mapping[str, Tensor] | xr.Dataset) -> LinearEquality:
        """The equality with the per-sample targets in `known`; itself if it has no such targets.

        Raises:
            ValueError: the variable is missing, or its number of entries does not fit.
        """
        if self.target_variable is None:
            return self
        if self.target_variable not in known:
            raise ValueError(
                f"the target is the variable {self.target_variable!r}, which the samples lack; they have "
                f"{', '.join(map(str, known))}: add it, or use one of these."
            )
        entries = as_tensor(known[self.target_variable]).double()
        entries = entries.reshape(len(entries), -1)
        if self._source is not None:
            entries = entries[:, self._source.to(entries.device)]
        elif entries.shape[1] == 1:
            entries = entries.expand(-1, self.linear_map.rows)
        return self.with_target(entries)


class Fixed(_FieldEquality):
    """Fixed values at places of samples (B, *S): initial states, boundary values, measured points.

    Args:
        places: mask (*S) of the coordinates that are fixed.
        value: a number, one number per place in the order of the flattened sample, or the name of a
            variable with one entry per sample.
        source: if `value` is a variable, the index of each place's value in the flattened entry; None if
            an entry has one value per place, in order, or a single value for all places.
        unit: unit of the samples.

    Raises:
        ValueError: no place is fixed, or the values do not fit the places.

    Example:
        >>> import torch
        >>> from plumbline.constraints import Fixed
        >>> ends = Fixed(torch.tensor([True, False, True]), 0.0)
        >>> ends.project(torch.tensor([[1.0, 2.0, 3.0]]))
        tensor([[0., 2., 0.]])
    """

    def __init__(
        self,
        places: Bool[Tensor, "*S"],
        value: float | Float[Tensor, " m"] | str,
        *,
        source: Int[Tensor, " m"] | None = None,
        unit: str = "1",
    ) -> None:
        flat = places.flatten()
        count = int(flat.sum())
        if places.dtype != torch.bool or not count:
            raise ValueError(
                f"`places` must be a boolean mask with a true entry, found {count} of {places.dtype}."
            )
        # All other coordinates belong to the first group, with weight zero.
        groups = torch.zeros(flat.shape, dtype=torch.int64, device=flat.device)
        groups[flat] = torch.arange(count, device=flat.device)
        variable = value if isinstance(value, str) else None
        target = None if isinstance(value, str) else torch.as_tensor(value, dtype=torch.float64).expand(count)
        super().__init__(
            GroupSum(groups, flat.double()), target, target_variable=variable, source=source, unit=unit
        )

    @property
    def places(self) -> Bool[Tensor, " n"]:
        """The coordinates of a flattened sample that are fixed."""
        assert isinstance(self.linear_map, GroupSum) and self.linear_map.weights is not None
        return self.linear_map.weights != 0

    def violation(self, x: Float[Tensor, "B *S"]) -> Float[Tensor, " B"]:
        """The largest |x_i - k_i| over the largest absolute value in x and k, since k may be zero."""
        flat = x.flatten(1).double()
        size = torch.maximum(flat.abs().amax(1), self._targets(flat).abs().amax(-1))
        smallest = torch.finfo(flat.dtype).tiny
        return (self._residual(flat).abs().amax(1) / size.clamp(min=smallest)).to(x.dtype)


class Conserved(_FieldEquality):
    """Weighted totals of samples (B, *S) that are constant along an axis, or given.

    Args:
        shape: *S.
        over: the axes of a sample that are summed, counted from zero.
        along: the axis along which totals are constant; None if `total` is given.
        total: a number, one number per total (one total for each place along the axes that are not summed),
            or the name of a variable with one entry per sample; None if `along` is given.
        weights: weights w that broadcast to *S, such as cell sizes; None for ones.
        source: if `total` is a variable, the index of each total in the flattened entry; None if an entry
            has one value per total, in order, or a single value for all totals.
        unit: unit of the total.

    Raises:
        ValueError: the axes do not fit the samples, or not exactly one of `along` and `total` is given.

    Example:
        >>> import torch
        >>> from plumbline.constraints import Conserved
        >>> mass = Conserved((2, 3), over=(1,), along=0)
        >>> x = torch.tensor([[[1.0, 1.0, 1.0], [2.0, 2.0, 5.0]]])
        >>> mass.residual(x)
        tensor([[6.]])
        >>> mass.project(x).sum(-1)
        tensor([[6., 6.]])
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        *,
        over: tuple[int, ...],
        along: int | None = None,
        total: float | Float[Tensor, " m"] | str | None = None,
        weights: Tensor | None = None,
        source: Int[Tensor, " m"] | None = None,
        unit: str = "1",
    ) -> None:
        axes = (*over, *(() if along is None else (along,)))
        if not over or len(set(axes)) < len(axes) or not set(axes) <= set(range(len(shape))):
            raise ValueError(
                f"`over` and `along` must be different axes of samples of shape {shape}, counted from 0, "
                f"found {over} and {along}."
            )
        if (along is None) == (total is None):
            raise ValueError(
                "give either `along`, the axis along which totals are constant, or `total`, their value."
            )
        sums = _sums(shape, over, along, weights)
        variable = total if isinstance(total, str) else None
        if along is not None:
            differences = SumDifferences(sums, shape[along])
            zero = torch.zeros(differences.rows, dtype=torch.float64)
            super().__init__(differences, zero, target_variable=None, source=None, unit=unit)
            return
        target = (
            None if isinstance(total, str) else torch.as_tensor(total, dtype=torch.float64).expand(sums.rows)
        )
        super().__init__(sums, target, target_variable=variable, source=source, unit=unit)


def _sums(
    shape: tuple[int, ...], over: tuple[int, ...], along: int | None, weights: Tensor | None
) -> GroupSum:
    """The map to the totals, one per place along the axes not summed; `along` varies fastest."""
    kept = [axis for axis in range(len(shape)) if axis not in (*over, along)]
    kept += [] if along is None else [along]
    numbers = torch.arange(math.prod(shape[axis] for axis in kept)).view([shape[axis] for axis in kept])
    places = [kept.index(axis) if axis in kept else None for axis in range(len(shape))]
    ordered = numbers.permute([place for place in places if place is not None])
    index = tuple(None if place is None else slice(None) for place in places)
    groups = ordered[index].expand(shape).flatten()
    if weights is None:
        return GroupSum(groups)
    return GroupSum(groups, weights.double().expand(shape).flatten())
