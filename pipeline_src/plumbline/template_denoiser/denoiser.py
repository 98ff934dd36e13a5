"""A trained denoiser for azula, without Plumbline: `from denoiser import load`, or copy this file.

    denoiser = load("this folder")
    sampler = azula.sample.DDIMSampler(denoiser, steps=64)
    z = sampler(sampler.init((16, *denoiser.shape)))
    x = denoiser.decode(z)

The denoiser works on standardised samples z; `decode` takes them to the data's units. A condition (B, C) is
given as `condition=...`, standardised by `denoiser.standardise`.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from azula.denoise import Denoiser, DiracPosterior
from torch import Tensor


class ExportedSchedule(torch.nn.Module):
    """The noise schedule: t (B,) to alpha and sigma (B,)."""

    def __init__(self, program: torch.export.ExportedProgram) -> None:
        super().__init__()
        self.program = program.module()

    def forward(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """alpha and sigma, of the shape of t."""
        alpha, sigma = self.program(t.reshape(-1))
        return alpha.reshape(t.shape), sigma.reshape(t.shape)


class ExportedDenoiser(Denoiser):
    """The denoiser of standardised samples (B, *shape)."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        about = json.loads((folder / "about.json").read_text())
        self.shape: tuple[int, ...] = tuple(about["shape"])
        self.takes_condition: bool = about["condition"] > 0
        self.program = torch.export.load(str(folder / "denoiser.pt2")).module()
        self.schedule = ExportedSchedule(torch.export.load(str(folder / "schedule.pt2")))
        for name, tensor in torch.load(folder / "standardisation.pt").items():
            self.register_buffer(name, tensor)

    def forward(self, x_t: Tensor, t: Tensor, condition: Tensor | None = None) -> DiracPosterior:
        """The posterior mean of the clean sample."""
        if self.takes_condition != (condition is not None):
            raise ValueError(f"this denoiser {'needs a' if self.takes_condition else 'takes no'} `condition`")
        arguments = (x_t, t.expand(len(x_t))) if condition is None else (x_t, t.expand(len(x_t)), condition)
        return DiracPosterior(self.program(*arguments))

    def decode(self, z: Tensor) -> Tensor:
        """Samples in the data's units."""
        return self.mean + self.scale * z

    def standardise(self, condition: Tensor) -> Tensor:
        """A condition (B, C) in the data's units as the denoiser takes it."""
        return (condition - self.condition_mean) / self.condition_scale


def load(folder: str | Path) -> ExportedDenoiser:
    """The denoiser that was exported to a folder."""
    return ExportedDenoiser(Path(folder))
