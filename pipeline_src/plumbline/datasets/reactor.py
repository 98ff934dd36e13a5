r"""Steady states of a stirred tank that produces ethylbenzene, with exact mole balances.

Benzene and ethylene are fed at the rates f_B and f_E (kmol/h) to a continuous stirred-tank reactor at
temperature T. The reaction B + E -> EB has the rate k(T) C_B C_E, where
k(T) = k_400 exp(-E_a / R (1/T - 1/400 K)). With the volumetric flow v (f_B + f_E), the extent xi of the
reaction solves

    xi = a (f_B - xi)(f_E - xi),    a = (V k(T) / v^2) / (f_B + f_E)^2,

and is its smaller root. The outflows are F_EB = xi, F_B = f_B - xi and F_E = f_E - xi. They satisfy the
balances F_B + F_EB = f_B and F_E + F_EB = f_E, whose targets differ between samples. Temperatures and feeds
are uniform. The reactor is that of Chen, Constante-Flores and Li (2024, https://arxiv.org/abs/2402.07251),
with a rate law instead of a flowsheet simulation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import model_validator

from plumbline.datasets import DatasetSpec
from plumbline.spec import key

if TYPE_CHECKING:
    import xarray as xr

GAS_CONSTANT = 8.314462618  # J/(mol K)
REFERENCE_TEMPERATURE = 400.0
# Kelvin: benzene freezes below this range and decomposes above it.
TEMPERATURES = (275.0, 1000.0)


class ReactorSpec(DatasetSpec):
    """Outflows of a stirred tank, conditioned on its temperature and feeds."""

    kind: Literal["reactor"] = "reactor"
    temperature: tuple[float, float] = key("K", default=(300.0, 500.0))
    """Range of the temperature, within 275 to 1000."""
    feed: tuple[float, float] = key("kmol/h", default=(0.1, 100.0))
    """Range of each feed."""
    activation_energy: float = key("J/mol", gt=0, default=5.0e4)
    """Activation energy E_a."""
    capacity: float = key("kmol/h", gt=0, default=500.0)
    """V k / v^2 at 400 K, which scales the rate of the reaction."""

    @model_validator(mode="after")
    def _ranges(self) -> ReactorSpec:
        for name in ("temperature", "feed"):
            low, high = getattr(self, name)
            if not 0 < low < high:
                raise ValueError(
                    f"`{name}` must be two positive numbers, the smaller first, found {low}, {high}"
                )
        low, high = self.temperature
        if low < TEMPERATURES[0] or high > TEMPERATURES[1]:
            raise ValueError(
                f"`temperature` must lie between {TEMPERATURES[0]:g} and {TEMPERATURES[1]:g} K, found "
                f"{low:g} to {high:g}"
            )
        # The smallest and the largest extents are at corners of the ranges.
        corners = np.stack(np.meshgrid(self.temperature, self.feed, self.feed), -1).reshape(-1, 3)
        with np.errstate(all="ignore"):
            extents = self.extent(*corners.T).astype(np.float32)
        if not (np.isfinite(extents) & (extents > 0)).all():
            raise ValueError(
                "`feed`, `activation_energy` and `capacity`: the outflow of ethylbenzene would be "
                f"{extents.min():g} to {extents.max():g} kmol/h, outside the range of single precision"
            )
        return self

    def has_condition(self) -> bool:
        return True

    def draw(self, indices: np.ndarray, splits: np.ndarray) -> xr.Dataset:
        import xarray as xr

        from plumbline.datasets._random import uniforms

        fractions = uniforms(self.seed, indices, 3)
        low, high = np.array([self.temperature, self.feed, self.feed]).T
        condition = (low + (high - low) * fractions).astype(np.float32).astype(np.float64)
        xi = self.extent(*condition.T)
        feeds = condition[:, 1:]
        state = np.stack([xi, feeds[:, 0] - xi, feeds[:, 1] - xi], 1).astype(np.float32)
        unit = {"units": "kmol/h"}
        return xr.Dataset(
            {
                "state": (("sample", "output"), state, {"long_name": "flow", **unit}),
                "condition": (
                    ("sample", "input"),
                    condition,
                    {"long_name": "temperature (K) and feeds (kmol/h)"},
                ),
                "balance_target": (("sample", "balance"), feeds, {"long_name": "feed", **unit}),
                "balance_matrix": (("balance", "output"), np.array([[1.0, 1.0, 0.0], [1.0, 0.0, 1.0]])),
            },
            coords={
                "output": ("output", ["F_EB", "F_B", "F_E"], {"long_name": "flow"}),
                "input": ("input", ["T", "f_B", "f_E"]),
                "balance": ("balance", ["benzene", "ethylene"]),
            },
            attrs={"title": "stirred-tank reactor"},
        )

    def extent(self, temperature: np.ndarray, benzene: np.ndarray, ethylene: np.ndarray) -> np.ndarray:
        """The extent of the reaction in kmol/h, computed without cancellation.

        Args:
            temperature: T in K (samples,).
            benzene: feed f_B in kmol/h (samples,).
            ethylene: feed f_E in kmol/h (samples,).
        """
        inverse = 1 / temperature - 1 / REFERENCE_TEMPERATURE
        rate = self.capacity * np.exp(-self.activation_energy / GAS_CONSTANT * inverse)
        a = rate / (benzene + ethylene) ** 2
        half = (benzene + ethylene + 1 / a) / 2
        product = benzene * ethylene
        return product / (half + np.sqrt(half**2 - product))
