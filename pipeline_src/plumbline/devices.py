"""The device that a job computes on, and the precision of its matrix products.

`32-true` means single precision: matrix products and convolutions do not use TF32, which keeps 10 of the 23
bits of a mantissa. PyTorch's own default is TF32 for convolutions alone, so that a network's outputs differ
between a GPU and a CPU by 1e-3 instead of 1e-6. A training that is to use the tensor cores says so with
`training.precision: bf16-mixed`.

Torch is imported when a device is chosen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

Accelerator = Literal["auto", "cpu", "gpu"]
"""`auto` is the GPU if there is one."""


class NoGPUError(RuntimeError):
    """A GPU is requested, and PyTorch finds none."""


def choose(accelerator: Accelerator = "auto") -> torch.device:
    """The device to compute on: the current CUDA device (which may be AMD's) or the CPU.

    It also turns TF32 off in this process (see the module).

    Raises:
        NoGPUError: `accelerator` is `gpu`, and there is none.
    """
    import torch

    require_single_precision()
    if accelerator != "cpu" and torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    if accelerator == "gpu":
        raise NoGPUError(
            "`accelerator` is `gpu`, and PyTorch finds no GPU (torch.cuda.is_available() is false; this is "
            f"torch {torch.__version__}): run the job where there is one, install a build of torch for CUDA "
            "or ROCm, or set `accelerator: cpu`."
        )
    return torch.device("cpu")


def require_single_precision() -> None:
    """Turns TF32 off for matrix products and convolutions of single precision in this process."""
    import torch

    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False


def name_of(device: torch.device) -> str:
    """The name of a device for people and for provenance: `cpu`, or `cuda:0 (NVIDIA H100)`."""
    import torch

    if device.type != "cuda":
        return str(device)
    return f"{device} ({torch.cuda.get_device_name(device)})"
