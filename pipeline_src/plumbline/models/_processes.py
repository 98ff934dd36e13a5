"""What the processes of a training, each of which has a part of the batch, have in common."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def mean_over_processes(values: Float[Tensor, " m"]) -> Float[Tensor, " m"]:
    """The mean of values over the processes of a training; the values themselves in a single one."""
    if not torch.distributed.is_initialized():
        return values
    total = values.clone()
    torch.distributed.all_reduce(total)
    return total / torch.distributed.get_world_size()
