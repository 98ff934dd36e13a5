"""A device `fakegpu` that computes on the CPU and refuses what a GPU would refuse.

A tensor on it wraps a tensor on the CPU and reports the device `fakegpu:0`, which is registered as torch's
PrivateUse1 backend. Each operation unwraps its arguments, computes on the CPU, and wraps the results. Values
and random numbers are therefore bitwise those of the CPU, and code that depends on values runs as usual.

- An operation on tensors of both devices raises `MixedDevicesError`, with the exceptions that CUDA makes:
  copies, indices, and CPU tensors without dimensions in elementwise operations.
- `.numpy()` on a tensor of the device raises, as on a GPU.
- A generator of the CPU cannot draw on the device.
- Operations at which the CPU waits for a GPU are recorded: `.item()` and what calls it, boolean masks and
  other results whose shape depends on values, factorisations that check for errors, and copies that are
  not asynchronous.

It cannot check kernels (their existence, precision, determinism and speed), memory, streams, autocast and
compilation.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._mode_utils import no_dispatch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

NAME = "fakegpu"
_setup_privateuseone_for_python_backend(NAME)
DEVICE = torch.device(NAME, 0)
LIBRARY = "pipeline_src/plumbline/"
aten = torch.ops.aten

# Operations at which the CPU waits for the device, whatever their arguments are.
WAITING = {
    "_local_scalar_dense": "reads a value",
    "equal": "reads a value",
    "nonzero": "the shape of the result depends on values",
    "masked_select": "the shape of the result depends on values",
    "_unique2": "the shape of the result depends on values",
    "_unique": "the shape of the result depends on values",
    "unique_consecutive": "the shape of the result depends on values",
    "unique_dim": "the shape of the result depends on values",
    "bincount": "the shape of the result depends on values",
    "_linalg_check_errors": "a factorisation checks for errors",
    "linalg_eig": "a factorisation on the CPU",
    "linalg_lstsq": "a factorisation checks for errors",
}
# Operations that take tensors of both devices.
COPIES = {"_to_copy", "copy_", "_copy_from", "copy"}
INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index", "_unsafe_index_put"}
# Operations without the tag `pointwise` that take CPU tensors without dimensions beside those of a GPU.
SCALARS = {"masked_fill", "masked_fill_", "index_fill", "index_fill_", "fill_", "where", "lerp_"}


class MixedDevicesError(RuntimeError):
    """An operation takes tensors of the CPU and of the device."""


@dataclass(frozen=True)
class Wait:
    """An operation at which the CPU waits for the device.

    Attributes:
        operation: its name.
        reason: why it waits.
        where: the innermost lines of the library that called it, from the inside out.
    """

    operation: str
    reason: str
    where: str

    def __str__(self) -> str:
        return f"{self.operation} ({self.reason}) at {self.where}"


class FakeGPUTensor(Tensor):
    """A tensor on the device, which wraps one on the CPU."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> FakeGPUTensor:
        return Tensor._make_wrapper_subclass(
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=DEVICE,
            requires_grad=False,
        )

    def __init__(self, held: Tensor) -> None:
        self.held = held

    def __repr__(self) -> str:  # type: ignore[override]
        return f"FakeGPUTensor({self.held!r})"

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


@dataclass
class FakeGPU:
    """The device, and what it recorded.

    Attributes:
        waits: the operations at which the CPU would wait, in order.
    """

    device: torch.device = DEVICE
    waits: list[Wait] = field(default_factory=list)

    @contextmanager
    def recording(self) -> Iterator[list[Wait]]:
        """Yields the list of the waits within the context."""
        before, self.waits = self.waits, []
        try:
            yield self.waits
        finally:
            self.waits = before + self.waits


_active: list[FakeGPU] = []


@contextmanager
def fake_gpu() -> Iterator[FakeGPU]:
    """Makes the device available: tensors can be made on it and moved to it within this context."""
    gpu = FakeGPU()
    overwritten = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    _active.append(gpu)
    try:
        with _Functions(), _Operations():
            yield gpu
    finally:
        _active.pop()
        torch.__future__.set_overwrite_module_params_on_conversion(overwritten)


class _Functions(TorchFunctionMode):
    """Functions that torch refuses for subclasses, or carries out by kernels that only GPUs have."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is Tensor.tolist and isinstance(args[0], FakeGPUTensor):
            return args[0].cpu().tolist()
        if getattr(func, "__name__", "") == "gru_cell" and isinstance(args[0], FakeGPUTensor):
            return _gru_cell(*args)
        return func(*args, **(kwargs or {}))


def _gru_cell(x: Tensor, h: Tensor, w_x: Tensor, w_h: Tensor, b_x: Tensor, b_h: Tensor) -> Tensor:
    from_x = torch.nn.functional.linear(x, w_x, b_x).chunk(3, 1)
    from_h = torch.nn.functional.linear(h, w_h, b_h).chunk(3, 1)
    reset, update = (torch.sigmoid(from_x[i] + from_h[i]) for i in range(2))
    new = torch.tanh(from_x[2] + reset * from_h[2])
    return (h - new) * update + new


class _Operations(TorchDispatchMode):
    """All operations, so that those without a tensor of the device can make one."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


_kernels = torch.library.Library("aten", "IMPL")


@torch.library.impl(_kernels, "empty_strided", "PrivateUse1")
def _empty_strided(size: Any, stride: Any, dtype: Any = None, **_: Any) -> FakeGPUTensor:
    """Memory for a tensor that torch makes from Python values, such as `torch.tensor(values, device=...)`."""
    return FakeGPUTensor(torch.empty_strided(size, stride, dtype=dtype, device="cpu"))


@torch.library.impl(_kernels, "_copy_from", "PrivateUse1")
def _copy_from(source: Tensor, target: Tensor, non_blocking: bool = False) -> Tensor:
    """Copies such values to the device."""
    _note("torch.tensor", "copies from the CPU")
    _held(target).copy_(_held(source))
    return target


def _is_fake(device: object) -> bool:
    return device is not None and torch.device(device).type == NAME  # type: ignore[arg-type]


def _run(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    tensors = [*_tensors_in(args), *_tensors_in(tuple(kwargs.values()))]
    ours = [t for t in tensors if isinstance(t, FakeGPUTensor)]
    wanted = kwargs.get("device")
    to_fake = _is_fake(wanted)
    if not ours and not to_fake:
        return func(*args, **kwargs)
    name = func.overloadpacket.__name__
    _refuse_mixtures(func, name, tensors, ours, args)
    _record(func, name, tensors, ours, args, kwargs, wanted)
    if to_fake and kwargs.get("generator") is not None:
        raise RuntimeError(f"{name}: expected a generator of {NAME}, found one of the CPU")
    held_args, held_kwargs = _held(args), {key: _held(value) for key, value in kwargs.items()}
    if wanted is not None:
        held_kwargs["device"] = torch.device("cpu")
    held_kwargs.pop("pin_memory", None)
    results = func(*held_args, **held_kwargs)
    if torch.Tag.inplace_view in func.tags:
        with no_dispatch():  # the shape that the wrapper reports changes too
            func(*args, **kwargs)
        return args[0]
    if name == "is_pinned":
        return False
    on_device = to_fake if wanted is not None else bool(ours)
    if name == "copy_" or name == "_copy_from":
        return args[0] if name == "copy_" else args[1]
    if name in ("_to_copy",) and on_device and results is held_args[0]:
        results = results.clone()
    return _wrapped(func, args, kwargs, results) if on_device else results


# Arguments and results of operations are nested in lists and tuples alone. torch's functions for trees of any
# kind took a third of the time of these tests.
def _tensors_in(values: Iterable[Any]) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif type(value) in (list, tuple):
            yield from _tensors_in(value)


def _held(value: Any) -> Any:
    if isinstance(value, FakeGPUTensor):
        return value.held
    return type(value)(map(_held, value)) if type(value) in (list, tuple) else value


def _wrapped(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], results: Any) -> Any:
    """The results on the device; an operation in place returns the argument that it changed."""
    schema = func._schema
    written: dict[str, Any] = {}
    for i, argument in enumerate(schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            value = args[i] if i < len(args) else kwargs.get(argument.name)
            for one in value if isinstance(value, (list, tuple)) else [value]:
                if isinstance(one, FakeGPUTensor) and one.held.shape != one.shape:
                    raise NotImplementedError(f"{func} changes a shape in place")
            for label in argument.alias_info.before_set:
                written[label] = value
    if not schema.returns:
        return results
    single = len(schema.returns) == 1
    found = []
    for given, declared in zip([results] if single else results, schema.returns, strict=True):
        labels = (
            declared.alias_info.before_set if declared.alias_info and declared.alias_info.is_write else ()
        )
        found.append(next((written[label] for label in labels), None) if labels else _wrap(given))
    return found[0] if single else tuple(found)


def _wrap(value: Any) -> Any:
    if type(value) in (list, tuple):
        return type(value)(map(_wrap, value))
    if not isinstance(value, Tensor) or isinstance(value, FakeGPUTensor):
        return value
    if value._is_zerotensor():  # zeros without memory, of forward differentiation
        value = torch.zeros(value.shape, dtype=value.dtype)
    return FakeGPUTensor(value.resolve_conj().resolve_neg())


def _refuse_mixtures(
    func: Any, name: str, tensors: list[Tensor], ours: list[FakeGPUTensor], args: tuple[Any, ...]
) -> None:
    strangers = [t for t in tensors if not isinstance(t, FakeGPUTensor)]
    if not ours or not strangers or name in COPIES:
        return
    if name in INDEXING and isinstance(args[0], FakeGPUTensor):
        values = args[2:3] if len(args) > 2 else ()
        if all(isinstance(v, FakeGPUTensor) or v.ndim == 0 for v in values):
            return
    if (torch.Tag.pointwise in func.tags or name in SCALARS) and all(t.ndim == 0 for t in strangers):
        return
    shapes = ", ".join(f"{t.device}{tuple(t.shape)}" for t in tensors)
    raise MixedDevicesError(f"{name} takes tensors of two devices: {shapes}")


def _record(
    func: Any,
    name: str,
    tensors: list[Tensor],
    ours: list[FakeGPUTensor],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    wanted: object,
) -> None:
    reason = WAITING.get(name)
    if name == "repeat_interleave" and kwargs.get("output_size") is None:
        reason = "the shape of the result depends on values"
    if name in INDEXING and isinstance(args[0], FakeGPUTensor):
        indices = [i for i in args[1] if isinstance(i, Tensor)]
        scalar = len(args) > 2 and args[2].numel() == 1
        if any(i.dtype in (torch.bool, torch.uint8) for i in indices) and not scalar:
            reason = "a boolean mask"
        elif any(not isinstance(i, FakeGPUTensor) and i.numel() for i in indices):
            reason = "copies an index from the CPU"
    if name == "_to_copy" and wanted is not None and not kwargs.get("non_blocking"):
        if ours and not _is_fake(wanted):
            reason = "copies to the CPU"
        elif not ours and tensors:
            reason = "copies from the CPU"
    if name == "copy_" and isinstance(args[0], FakeGPUTensor) != isinstance(args[1], FakeGPUTensor):
        asynchronous = kwargs.get("non_blocking") or (len(args) > 2 and args[2])
        reason = None if asynchronous else "copies between the devices"
    if reason:
        _note(name, reason)


def _note(operation: str, reason: str) -> None:
    if _active:
        _active[-1].waits.append(Wait(operation, reason, _library_lines()))


def _library_lines(most: int = 4) -> str:
    """The innermost lines of the library on the stack, from the inside out."""
    found: list[str] = []
    frame = sys._getframe(1)
    while frame is not None and len(found) < most:
        name = frame.f_code.co_filename
        if LIBRARY in name:
            found.append(f"{name.split(LIBRARY)[-1]}:{frame.f_lineno} {frame.f_code.co_name}")
        frame = frame.f_back  # type: ignore[assignment]
    return " <- ".join(found) or "outside the library"
