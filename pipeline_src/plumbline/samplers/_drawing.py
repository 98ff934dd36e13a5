"""What a trained diffusion model draws for a whole dataset, when another model is prepared to learn from it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from plumbline.progress import Progress
from plumbline.samplers import Costs, DenoisingSpec, SamplingTask
from plumbline.samplers._denoising import denoise

logger = logging.getLogger("plumbline.training")

# Samples that are drawn together.
CHUNK = 512


@contextmanager
def where_drawing_is_fast(module: nn.Module, home: torch.device) -> Iterator[str]:
    """The device to draw on, to which the module moves for as long, and from which it comes back to `home`.

    Models are prepared on the CPU; thousands of samples are drawn on a GPU if there is one.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    module.to(device)
    try:
        yield device
    finally:
        module.to(home)


@torch.no_grad()
def drawn_for(model: Any, spec: DenoisingSpec, data: dict[str, Tensor], device: str) -> Iterator[Tensor]:
    """Samples (B, ...) for one batch of the data after another, on the device and in the dtype of the data's states."""
    states, progress = data["state"], Progress(logger)
    for first in range(0, len(states), CHUNK):
        batch = {name: tensor[first : first + CHUNK] for name, tensor in data.items()}
        reported = partial(_report, progress, f"{first} of {len(states)} samples drawn to learn from")
        task = SamplingTask(batch, device=device, progress=reported)
        yield denoise(model, spec, task, Costs()).to(states.dtype)


def _report(progress: Progress, text: str, costs: Costs) -> None:
    progress.report(text)
