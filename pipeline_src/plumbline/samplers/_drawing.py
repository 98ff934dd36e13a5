"""Draws samples of a trained diffusion model for a whole dataset, to train another model on."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn

from plumbline import devices
from plumbline.progress import Progress
from plumbline.samplers import Costs, Denoising, DenoisingSpec, SamplingTask
from plumbline.samplers._denoising import denoise

logger = logging.getLogger("plumbline.training")

# Number of samples in one batch.
CHUNK = 512


@contextmanager
def where_drawing_is_fast(module: nn.Module, home: torch.device) -> Iterator[torch.device]:
    """Moves a module to the GPU, if there is one, and back to the device `home` afterwards.

    Models are prepared on the CPU, where drawing thousands of samples would be slow.

    Yields:
        The device to draw on.
    """
    device = devices.choose()
    module.to(device)
    try:
        yield device
    finally:
        module.to(home)


@torch.no_grad()
def drawn_for(
    model: Denoising, spec: DenoisingSpec, data: dict[str, Tensor], device: torch.device
) -> Iterator[Tensor]:
    """Draws samples (B, ...) for each batch of the data in turn.

    Args:
        model: a model with a denoiser.
        spec: the sampler.
        data: the variables of the dataset (N, ...), by name.
        device: the device to draw on.

    Yields:
        The samples of one batch on `device`, with the dtype of the data's states.
    """
    states, progress = data["state"], Progress(logger)
    for first in range(0, len(states), CHUNK):
        batch = {name: tensor[first : first + CHUNK] for name, tensor in data.items()}
        reported = partial(_report, progress, f"{first} of {len(states)} training samples drawn")
        task = SamplingTask(batch, device=device, progress=reported)
        yield denoise(model, spec, task, Costs()).to(states.dtype)


def _report(progress: Progress, text: str, costs: Costs) -> None:
    progress.report(text)
