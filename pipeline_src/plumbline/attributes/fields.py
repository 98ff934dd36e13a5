r"""Attributes of fields on periodic grids, from their Fourier modes.

The energy of a field u with the Fourier modes u_k is half its mean square. Parseval's theorem decomposes it
into contributions of the modes:

    1/2 <|u|^2> = 1/2 sum_k |u_k|^2.

**Band energy** is the sum over the modes whose rounded wavenumber |k| lies in a band. **Enstrophy** is half
the mean square of the vorticity, which weights each mode by the square of its wavenumber. On a line there is
no vorticity, and the slope takes its place. Both are means over the states of a trajectory.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from pydantic import model_validator

from plumbline.attributes import Attribute, AttributeSpec
from plumbline.coordinates import equal_periods, period, periodic_dimensions, require_velocities
from plumbline.spec import key

if TYPE_CHECKING:
    import xarray as xr
    from torch import Tensor, nn


class EnstrophySpec(AttributeSpec):
    """Half the mean square of the vorticity (velocity in the plane) or of the slope (field on a line)."""

    kind: Literal["enstrophy"] = "enstrophy"

    def build(self, example: xr.Dataset, models: Mapping[str, nn.Module]) -> Attribute:
        lengths = _periods(self.kind, example)
        if len(lengths) == 1:
            return _Steepness(lengths[0])
        asker = f"`{self.kind}` in the plane"
        require_velocities(example, asker)
        return _Enstrophy(equal_periods(example, ("x", "y"), asker))


class BandEnergySpec(AttributeSpec):
    """Energy in a band of wavenumbers, summed over components."""

    kind: Literal["band_energy"] = "band_energy"
    lowest: int = key("waves in the domain", ge=0, default=1)
    """Lowest wavenumber of the band."""
    highest: int = key("waves in the domain", ge=0)
    """Highest wavenumber of the band."""

    @model_validator(mode="after")
    def _a_band(self) -> BandEnergySpec:
        if self.highest < self.lowest:
            raise ValueError(f"`highest` ({self.highest}) must be at least `lowest` ({self.lowest})")
        return self

    def build(self, example: xr.Dataset, models: Mapping[str, nn.Module]) -> Attribute:
        directions = len(_periods(self.kind, example))
        largest = min(example["state"].shape[-directions:]) // 2
        if self.lowest > largest:
            raise ValueError(f"`lowest`: {self.lowest} waves do not fit on this grid, which holds {largest}.")
        grid = example["state"].shape[-directions:]
        return _BandEnergy(self.lowest, self.highest, grid, example["state"].sizes.get("component", 1))


class _Steepness(Attribute):
    def __init__(self, length: float) -> None:
        self.length = length

    def value(self, x: Tensor) -> Tensor:
        import torch

        points = x.shape[-1]
        waves = torch.arange(points // 2 + 1, dtype=x.dtype, device=x.device)
        wavenumber = 2 * math.pi / self.length * waves
        if points % 2 == 0:
            # The slope of the Nyquist mode is zero at the grid points.
            wavenumber[-1] = 0
        slope = torch.fft.irfft(1j * wavenumber * torch.fft.rfft(x), n=points)
        return 0.5 * slope.square().flatten(1).mean(1)


class _Enstrophy(Attribute):
    def __init__(self, length: float) -> None:
        self.length = length

    def value(self, x: Tensor) -> Tensor:
        from plumbline.solvers.kolmogorov import vorticity

        return 0.5 * vorticity(x, length=self.length).square().flatten(1).mean(1)


class _BandEnergy(Attribute):
    def __init__(self, lowest: int, highest: int, grid: tuple[int, ...], components: int) -> None:
        import torch

        self.axes, self.components = tuple(range(-len(grid), 0)), components
        wavenumbers = torch.meshgrid(*(torch.fft.fftfreq(n, 1 / n) for n in grid), indexing="ij")
        waves = torch.stack(wavenumbers).norm(dim=0).round()
        self.band = (waves >= lowest) & (waves <= highest)

    def value(self, x: Tensor) -> Tensor:
        import torch

        modes = torch.fft.fftn(x, dim=self.axes, norm="forward")
        self.band = self.band.to(x.device)
        energy = modes.abs().square() * self.band
        return 0.5 * self.components * energy.sum(self.axes).flatten(1).mean(1)


def _periods(kind: str, example: xr.Dataset) -> list[float]:
    asker = f"`{kind}`"
    return [period(example, d, asker) for d in periodic_dimensions(example, asker)]
