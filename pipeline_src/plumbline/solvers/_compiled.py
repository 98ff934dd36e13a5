"""The schemes' steps in C (`steps.c`), compiled on first use, for fields on the CPU without gradients.

In torch, every transform and every multiply-add of a step reads and writes whole arrays. The functions in C
keep a trajectory in the cache: one pass over its columns transforms them, forms N and updates the state.

The system's C compiler (`CC`, or else cc, gcc or clang) compiles the library for this machine's processor,
which takes about half a second. It is stored in the folder `plumbline` below `XDG_CACHE_HOME` or `~/.cache`.
Without a compiler, or with `PLUMBLINE_COMPILED_SOLVERS=0`, the solvers run in torch alone, with the same
results up to rounding.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import math
import os
import platform
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor
from torch.autograd import forward_ad

from plumbline.solvers.exponential import STAGE_CARRY, Scheme, System

logger = logging.getLogger("plumbline.solvers")

SOURCE = Path(__file__).with_name("steps.c")
SCHEMES: dict[Scheme, int] = {"etdrk4": 0, "etdab4": 1, "cnrk4": 2}
REAL_TYPES = {torch.float32: ("float", ctypes.c_float), torch.float64: ("double", ctypes.c_double)}


def usable(field: Tensor, transform_length: int) -> bool:
    """Whether the compiled steps can integrate this field with transforms of this length.

    They can on the CPU, in float32 or float64, without gradients of any kind, if the length has no prime
    factor above five, and if there is a compiler. Tensors of subclasses, such as fake ones, may lack memory.
    """
    differentiated = torch.is_grad_enabled() and field.requires_grad
    return (
        type(field) is Tensor
        and field.device.type == "cpu"
        and field.dtype in REAL_TYPES
        and not differentiated
        and forward_ad.unpack_dual(field).tangent is None
        and transform_length > 0
        and 60**64 % transform_length == 0
        and library(field.dtype) is not None
    )


@lru_cache
def library(dtype: torch.dtype) -> ctypes.CDLL | None:
    """The compiled steps for this dtype, or None if they are switched off or cannot be compiled."""
    if os.environ.get("PLUMBLINE_COMPILED_SOLVERS") == "0":
        return None
    candidates = [os.environ["CC"]] if os.environ.get("CC") else ["cc", "gcc", "clang"]
    compiler = next((found for name in candidates if (found := shutil.which(name))), None)
    if compiler is None:
        logger.info("The solvers run in torch alone: no C compiler found (%s).", ", ".join(candidates))
        return None
    name, real = REAL_TYPES[dtype]
    processor = "-mcpu=native" if platform.machine() in ("arm64", "aarch64") else "-march=native"
    carry = ",".join(map(str, STAGE_CARRY))
    definitions = [f"-DREAL={name}", f"-DSIZE={ctypes.sizeof(real)}", f"-DSTAGE_CARRY={carry}"]
    command = [compiler, "-O3", processor, "-shared", "-fPIC", *definitions]
    identity = [*command, _processor_features(), SOURCE.read_text()]
    path = _cache_folder() / f"steps-{hashlib.sha256(chr(0).join(identity).encode()).hexdigest()[:16]}.so"
    try:
        if not path.exists():
            _compile(command, path)
        return ctypes.CDLL(str(path))
    except (OSError, subprocess.SubprocessError) as error:
        logger.warning("The solvers run in torch alone, because compiling %s failed: %s", SOURCE.name, error)
        return None


def _compile(command: list[str], path: Path) -> None:
    """Compiles to `path` by way of a temporary file, so that jobs that start together do not collide."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        output = Path(folder) / path.name
        run = subprocess.run([*command, str(SOURCE), "-o", str(output)], capture_output=True, text=True)
        if run.returncode:
            raise OSError(f"{command[0]} ended with status {run.returncode}: {run.stderr.strip()}")
        output.replace(path)


def _cache_folder() -> Path:
    """The cache of this user, or a new temporary folder if that cannot be written."""
    try:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "plumbline"
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return folder
    except (OSError, RuntimeError):
        pass
    return Path(tempfile.mkdtemp(prefix="plumbline-"))


def _processor_features() -> str:
    """What distinguishes processors that share a home folder, since the library uses all instructions."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), platform.processor())


@lru_cache
def lanes(dtype: torch.dtype) -> int:
    """The number of transforms that the compiled steps carry out at once."""
    compiled = library(dtype)
    assert compiled is not None
    return compiled.lanes()


@lru_cache(maxsize=16)
def roots_of_unity(length: int, dtype: torch.dtype) -> Tensor:
    """cos and sin of 2 pi j / length, (length, 2)."""
    angles = 2 * math.pi / length * torch.arange(length, dtype=torch.float64)
    return torch.stack([angles.cos(), angles.sin()], dim=1).to(dtype)


@dataclass(frozen=True, eq=False, kw_only=True)
class CompiledSystem(System):
    """A system that a function of `steps.c` integrates.

    States are (units, *shape, 2, lanes), real and imaginary parts of modes, where `linear` is
    (*shape, lanes). Each unit is integrated by itself, and a lane holds one trajectory at most, so that the
    bits of a trajectory do not depend on the rest of the batch.

    Attributes:
        function: the name of the function.
        sizes: its numbers of points and of retained modes.
        constants: its arguments after the weights.
        work: the length of its working memory, in numbers.
    """

    function: str
    sizes: tuple[int, int]
    constants: tuple[Tensor | float | int, ...]
    work: int

    def advanced(
        self, scheme: Scheme, u: Tensor, past: tuple[Tensor, ...], step: float, steps: int
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        u = u.clone(memory_format=torch.contiguous_format)
        # N of the step before is the last of the ring. Step t replaces entry t modulo three.
        ring = u.new_empty(3, *u.shape) if scheme == "etdab4" else None
        if ring is not None:
            for j, value in enumerate(past):
                ring[2 - j] = value
        weights, multistep = self.interleaved_weights(scheme, step, u.dtype)
        function = getattr(library(u.dtype), self.function)
        shared = (len(u), *self.sizes, u, ring, len(past), SCHEMES[scheme], steps)
        _, real = REAL_TYPES[u.dtype]
        threads = min(torch.get_num_threads(), len(u))

        def run(begin: int, end: int, work: Tensor) -> None:
            arguments = (begin, end, *shared, weights, multistep, *self.constants, work)
            function(*(_argument(value, real) for value in arguments))

        # Allocated here, since operations of torch in other threads would start threads of their own.
        work = u.new_zeros(threads, self.work)
        bounds = [len(u) * i // threads for i in range(threads + 1)]
        if threads == 1:
            run(0, len(u), work[0])
        else:
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(run, bounds[:-1], bounds[1:], work))
        if ring is None:
            return u, ()
        return u, tuple(ring[(steps - 1 - j) % 3] for j in range(min(3, len(past) + steps)))

    @lru_cache(maxsize=32)  # noqa: B019 - at most 32 sets of weights stay in memory
    def interleaved_weights(
        self, scheme: Scheme, step: float, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor | None]:
        """The weights of the scheme that takes single steps, and of ETDAB4; those of a mode lie together."""
        if scheme == "cnrk4":
            stages = self.crank_nicolson(step, dtype)
            return torch.stack([weight for stage in stages for weight in stage], dim=-2), None
        multistep = torch.stack(self.adams_bashforth(step, dtype), dim=-2) if scheme == "etdab4" else None
        return torch.stack(self.runge_kutta(step, dtype), dim=-2), multistep


def _argument(value: Tensor | float | int | None, real: type) -> object:
    if isinstance(value, Tensor):
        return ctypes.c_void_p(value.data_ptr())
    if isinstance(value, float):
        return real(value)
    return None if value is None else ctypes.c_long(value)
