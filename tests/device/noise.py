"""Random numbers of the CPU on any device, so that runs on two devices can be compared."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

RANDOM = {
    "rand", "randn", "randint", "randperm", "rand_like", "randn_like", "randint_like", "normal", "normal_",
    "uniform_", "random_", "bernoulli", "bernoulli_", "exponential_", "multinomial", "native_dropout",
    "_standard_gamma", "poisson",
}  # fmt: skip


class NoiseOfTheCPU(TorchDispatchMode):
    """Draws on the CPU what an operation would draw on another device, and moves it there."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = dict(kwargs or {})
        tensors = [a for a in args if isinstance(a, Tensor)]
        device = torch.device(given.get("device") or (tensors[0].device if tensors else "cpu"))
        if func.overloadpacket.__name__ not in RANDOM or device.type == "cpu":
            return func(*args, **given)
        if given.get("device") is not None:
            given["device"] = torch.device("cpu")
        given.pop("pin_memory", None)
        results = func(*tree_map(_on_cpu, args), **given)
        if func.overloadpacket.__name__.endswith("_"):
            return args[0].copy_(results)
        return tree_map(lambda one: one.to(device) if isinstance(one, Tensor) else one, results)


def _on_cpu(value: Any) -> Any:
    return value.cpu() if isinstance(value, Tensor) else value
