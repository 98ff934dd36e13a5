"""Export of a trained model as an azula denoiser that loads without this library."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from plumbline.models._spaces import Standardisation, StandardisedCondition
from plumbline.models.diffusion._diffusion import Diffusion

if TYPE_CHECKING:
    from azula.denoise import Denoiser

LOADER = Path(__file__).parent / "template_denoiser" / "denoiser.py"


class ExportError(ValueError):
    """A model that has no denoiser of standardised samples, or a folder that is in use."""


class _Mean(nn.Module):
    """The posterior mean as a function of tensors alone."""

    def __init__(self, denoiser: Denoiser) -> None:
        super().__init__()
        self.denoiser = denoiser

    def forward(self, x_t: Tensor, t: Tensor, condition: Tensor | None = None) -> Tensor:
        given = {} if condition is None else {"condition": condition}
        mean: Tensor = self.denoiser(x_t, t, **given).mean
        return mean


class _Schedule(nn.Module):
    def __init__(self, denoiser: Denoiser) -> None:
        super().__init__()
        self.schedule = denoiser.schedule

    def forward(self, t: Tensor) -> tuple[Tensor, Tensor]:
        alpha, sigma = self.schedule(t)
        return alpha.expand(t.shape).clone(), sigma.expand(t.shape).clone()


def export_denoiser(model: nn.Module, folder: Path) -> None:
    """Writes a denoiser, its schedule and its standardisation to a folder, with a file that loads them.

    The network is a program of `torch.export`, for batches of any size
    (https://docs.pytorch.org/docs/stable/export.html).

    Args:
        model: a trained diffusion model in standardised data.
        folder: a new or empty folder.

    Raises:
        ExportError: the model is of another family, works in the space of a mirror map or with coloured
            noise, or evaluates a residual; or the folder is not empty.
    """
    space = model.space_of({}) if isinstance(model, Diffusion) else None
    if isinstance(model, Diffusion) and model.condition.gradient:
        raise ExportError(
            "a model with `residual_gradient` evaluates a constraint, which is not exported: export a model "
            "without it"
        )
    if not isinstance(model, Diffusion) or not isinstance(space, Standardisation):
        raise ExportError(
            f"a {type(model).__name__} is not a diffusion model in standardised data, with white noise; only "
            "these are exported"
        )
    if folder.exists() and any(folder.iterdir()):
        raise ExportError(f"{folder} is not empty: name a new folder.")
    folder.mkdir(parents=True, exist_ok=True)
    shape = space.shape
    condition = model.condition if isinstance(model.condition, StandardisedCondition) else None
    of_condition = condition.space if condition is not None else None
    size = 0 if of_condition is None else of_condition.shape[0]
    batch = torch.export.Dim("batch", min=1, max=2**20)
    example: tuple[Tensor, ...] = (torch.zeros(2, *shape), torch.full((2,), 0.5))
    if size:
        example = (*example, torch.zeros(2, size))
    sizes = tuple({0: batch} for _ in example)
    with torch.no_grad():
        mean = torch.export.export(_Mean(model.denoiser.eval()), example, dynamic_shapes=sizes)
        schedule = torch.export.export(_Schedule(model.denoiser), (example[1],), dynamic_shapes=({0: batch},))
    torch.export.save(mean, str(folder / "denoiser.pt2"))
    torch.export.save(schedule, str(folder / "schedule.pt2"))
    buffers = {"mean": space.mean, "scale": space.scale}
    if of_condition is not None:
        buffers |= {"condition_mean": of_condition.mean, "condition_scale": of_condition.scale}
    torch.save({name: tensor.clone() for name, tensor in buffers.items()}, folder / "standardisation.pt")
    (folder / "about.json").write_text(json.dumps({"shape": list(shape), "condition": size}, indent=2) + "\n")
    shutil.copyfile(LOADER, folder / LOADER.name)
