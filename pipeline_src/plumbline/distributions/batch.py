"""Batch shapes."""

from __future__ import annotations

import numpy as np
import torch


def common_batch(*shapes: torch.Size) -> torch.Size:
    """The shape that batches of these shapes broadcast to.

    NumPy's rule, which is torch's: `torch.broadcast_shapes` imports a computer algebra system on its first call.
    """
    return torch.Size(np.broadcast_shapes(*shapes))
