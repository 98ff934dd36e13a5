"""Counts what tensor operations do: their number, floating-point operations, traffic and peak memory.

`Meter` sees every operation below autograd, of the forward and the backward pass and of the optimiser, on
real tensors or on fake ones, which have shapes but no values. The formulas of matrix products, convolutions
and attention are those of torch (torch.utils.flop_counter); those of factorisations and FFTs stand below.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from plumbline.estimates import Work

aten = torch.ops.aten

MOST_OPERATIONS = 200_000
"""Operations after which a count is given up, since a loop may never end without values."""
CUBIC = {
    aten.linalg_cholesky_ex: 1 / 3,
    aten.linalg_inv_ex: 2,
    aten.linalg_lu_factor_ex: 2 / 3,
    aten._linalg_solve_ex: 2 / 3,
    aten.linalg_qr: 4 / 3,
    aten._linalg_eigh: 9,
    aten._linalg_svd: 20,
}
"""Floating-point operations of dense factorisations over the cube of the order.

Golub and Van Loan, Matrix Computations, 4th edition, 2013 (https://doi.org/10.56021/9781421407944)."""
FFTS = (aten._fft_r2c, aten._fft_c2r, aten._fft_c2c)


class GivenUpError(RuntimeError):
    """A count took too many operations."""


class _Kind(NamedTuple):
    """What an operation does with memory: changes an argument in place, or returns a view of it."""

    in_place: bool
    view: bool
    counted: bool
    flops: Callable[..., float] | None


@dataclass
class _Storage:
    """Memory that several tensors may share."""

    bytes: int
    tensors: int = 0


class Meter(TorchDispatchMode):
    """Counts the operations within its context.

    Args:
        answer: for fake tensors, the value that each boolean has when the program asks for it; numbers are 1.
            None for real tensors.
    """

    def __init__(self, answer: bool | None = None) -> None:
        super().__init__()
        self.answer = answer
        self.operations = 0
        self.flops = self.traffic = 0.0
        self.live = self.peak = 0
        self._storages: dict[int, _Storage] = {}

    @property
    def work(self) -> Work:
        """What has been counted."""
        return Work(self.operations, self.flops, self.traffic)

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Runs and counts one operation."""
        kwargs = kwargs or {}
        found = None
        if self.answer is not None:
            if func is aten._local_scalar_dense.default:
                return self._answer(args[0])
            if func is aten.equal.default:
                return self.answer
            args = _without_masks(func, args)
            found = _all_chosen(func, args)
        if found is None:
            found = func(*args, **kwargs)
        kind = _kind(func)
        if kind.counted:
            self._count(kind, args, kwargs, found)
        return found

    def _answer(self, tensor: Tensor) -> bool | float | int:
        if tensor.dtype == torch.bool:
            return bool(self.answer)
        return 1.0 if tensor.is_floating_point() else 1

    def _count(self, kind: _Kind, args: tuple[Any, ...], kwargs: dict[str, Any], found: Any) -> None:
        self.operations += 1
        if self.operations > MOST_OPERATIONS:
            raise GivenUpError(f"more than {MOST_OPERATIONS} operations")
        if kind.flops is not None:
            self.flops += kind.flops(args, kwargs, found)
        if kind.view:
            shared = next((s for one in _tensors(args) if (s := self._storages.get(id(one)))), _Storage(0))
            for tensor in _tensors(found):
                self._watch(tensor, shared)
            return
        self.traffic += sum(map(_size, _tensors(args))) + sum(map(_size, _tensors(kwargs)))
        for tensor in _tensors(found):
            size = _size(tensor)
            self.traffic += size
            if not kind.in_place:
                self._watch(tensor, _Storage(size))
        self.peak = max(self.peak, self.live)

    def _watch(self, tensor: Tensor, storage: _Storage) -> None:
        """Counts the memory of a new tensor until the last tensor that shares it is gone."""
        if id(tensor) in self._storages:
            return
        if not storage.tensors:
            self.live += storage.bytes
        storage.tensors += 1
        self._storages[id(tensor)] = storage
        weakref.finalize(tensor, self._release, id(tensor))

    def _release(self, name: int) -> None:
        storage = self._storages.pop(name)
        storage.tensors -= 1
        if not storage.tensors:
            self.live -= storage.bytes


@cache
def _kind(func: Any) -> _Kind:
    schema, packet = func._schema, func._overloadpacket
    in_place = bool(schema.is_mutable)
    view = not in_place and any(one.alias_info is not None for one in schema.returns)
    return _Kind(in_place, view, func.namespace == "aten", _flops_of(packet))


def _flops_of(packet: Any) -> Callable[..., float] | None:
    """The formula of an operation's floating-point operations, from its arguments and result."""
    if packet in flop_registry:
        formula = flop_registry[packet]
        return lambda args, kwargs, found: float(formula(*args, **kwargs, out_val=found))
    if packet in CUBIC:
        return lambda args, kwargs, found: CUBIC[packet] * _cube(args[0].shape)
    if packet in FFTS:
        return lambda args, kwargs, found: _fft(args[0], found, args[1], packet is aten._fft_c2c)
    return None


def _cube(shape: Sequence[int]) -> float:
    *batch, rows, columns = shape
    return float(math.prod(batch) * max(rows, columns) * min(rows, columns) ** 2)


def _fft(x: Tensor, found: Tensor, dims: Sequence[int], is_complex: bool) -> float:
    """5 N log2 N for complex values, half of it for real ones."""
    length = math.prod(max(x.shape[d], found.shape[d]) for d in dims)
    return (5.0 if is_complex else 2.5) * max(x.numel(), found.numel()) * math.log2(max(2, length))


def _tensors(values: Any) -> Iterator[Tensor]:
    """The tensors in arguments or results, which may be nested in sequences."""
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, list | tuple):
        for one in values:
            yield from _tensors(one)
    elif isinstance(values, dict):
        for one in values.values():
            yield from _tensors(one)


def _size(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _without_masks(func: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Replaces masks of one dimension, whose values are unknown, by the indices of everything."""
    if func is not aten.index.Tensor:
        return args
    indices = [
        torch.arange(len(i), device=i.device)
        if i is not None and i.dtype == torch.bool and i.ndim == 1
        else i
        for i in args[1]
    ]
    return (args[0], indices)


def _all_chosen(func: Any, args: tuple[Any, ...]) -> Any:
    """The result of an operation whose shape depends on values, as if all were chosen or all equal."""
    if func is aten.nonzero.default:
        return torch.zeros(args[0].numel(), args[0].ndim, dtype=torch.long, device=args[0].device)
    if func is aten._unique2.default:
        x = args[0]
        index = torch.zeros(x.shape, dtype=torch.long, device=x.device)
        return x.flatten()[:1].clone(), index, index.flatten()[:1].clone()
    return None
