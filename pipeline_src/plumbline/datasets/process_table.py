"""Steady states of three chemical process units, published with KKT-hPINN.

The tables contain results of Aspen simulations (Chen, Constante-Flores and Li 2024,
https://arxiv.org/abs/2402.07251). Inputs x (the condition) and outputs z (the state) satisfy linear balances
A_x x + A_z z = 0. For given x these are equalities A_z z = -A_x x in z, with their own target per sample.

| unit | inputs | outputs |
|---|---|---|
| cstr | T, Ff_B, Ff_E | F_EB, F_B, F_E |
| plant | Ff_M, Ff_E, Ff_W, Fp | Fdme, Fdme_DME, Fdee, Fdee_DEE, Fw |
| distillation | F_s, r_1, D_1, r_2, D_2 | Fc_n, Ft_t, E_1 to E_4, Fc_t, Fc_p, Ft_n, Ft_p |

| unit | balances |
|---|---|
| cstr | Ff_B - Ff_E = F_B - F_E; Ff_B = F_EB + F_B |
| plant | Ff_M + Ff_E + Ff_W - Fp = Fdme + Fdee + Fw |
| distillation | D_1 = Fc_n + Fc_t + Fc_p; D_2 = Ft_t + Ft_n + Ft_p |
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from plumbline.datasets import DatasetSpec
from plumbline.datasets._download import PublishedFile
from plumbline.input_files import InputFile, ReadsFiles

if TYPE_CHECKING:
    import xarray as xr

SOURCE = "https://raw.githubusercontent.com/li-group/KKThPINN/a62ca097a176d197c28d5e4ca1da225244800ecf"


@dataclass(frozen=True)
class Unit:
    """A process unit.

    Attributes:
        file: table of the unit.
        inputs: number of input columns, which come first.
        balances: coefficients of each balance, by column.
    """

    file: PublishedFile
    inputs: int
    balances: tuple[dict[str, float], ...]


UNITS = {
    "cstr": Unit(
        PublishedFile(
            "process/cstr.csv",
            f"{SOURCE}/benchmark_CSTR.csv",
            "6bb786097961557fa1b75b1138ca95b705943811b36069169889656dccf9a037",
        ),
        3,
        ({"Ff_B": 1, "Ff_E": -1, "F_B": -1, "F_E": 1}, {"Ff_B": 1, "F_EB": -1, "F_B": -1}),
    ),
    "plant": Unit(
        PublishedFile(
            "process/plant.csv",
            f"{SOURCE}/benchmark_plant.csv",
            "a3f4cc35bf73d9f54f43119f63aa6c30ccc74570703cd0a0862d0ed0643f42ef",
        ),
        4,
        ({"Ff_M": 1, "Ff_E": 1, "Ff_W": 1, "Fp": -1, "Fdme": -1, "Fdee": -1, "Fw": -1},),
    ),
    "distillation": Unit(
        PublishedFile(
            "process/distillation.csv",
            f"{SOURCE}/benchmark_distillation.csv",
            "ae9ebfdb6c5b6ad3210a0ce4bd3226228af6351b2060fc682e4626d861afed1f",
        ),
        5,
        ({"D_1": 1, "Fc_n": -1, "Fc_t": -1, "Fc_p": -1}, {"D_2": 1, "Ft_t": -1, "Ft_n": -1, "Ft_p": -1}),
    ),
}


class ProcessTableSpec(ReadsFiles, DatasetSpec):
    """A published table of a process unit, in a random order of rows that the seed determines."""

    kind: Literal["process_table"] = "process_table"
    unit: Literal["cstr", "plant", "distillation"]
    """Process unit: a reactor, a plant or an extractive distillation column."""
    data_dir: str = "data"
    """Folder with `process/<unit>.csv`; a missing table is downloaded into it."""

    def has_condition(self) -> bool:
        return True

    def input_files(self) -> tuple[InputFile, ...]:
        return (UNITS[self.unit].file.as_input(self.data_dir),)

    def draw(self, indices: np.ndarray, splits: np.ndarray) -> xr.Dataset:
        import pandas as pd
        import xarray as xr

        unit = UNITS[self.unit]
        table = pd.read_csv(unit.file.fetch(self.data_dir))
        if self.splits.total > len(table):
            raise ValueError(
                f"{unit.file.name} has {len(table)} rows, and `splits` ask for {self.splits.total}."
            )
        rows = table.iloc[np.random.default_rng(self.seed).permutation(len(table))[indices]]
        names = [column.rsplit(" ", 1)[0] for column in table.columns]
        inputs, outputs = names[: unit.inputs], names[unit.inputs :]
        coefficients = np.array([[row.get(name, 0.0) for name in names] for row in unit.balances])
        values = rows.to_numpy(dtype=float)
        # The tables are rounded, so the balances hold only up to this rounding and that of single precision.
        state = values[:, unit.inputs :].astype(np.float32)
        matrix = -coefficients[:, unit.inputs :]
        supplied = values[:, : unit.inputs] @ coefficients[:, : unit.inputs].T
        return xr.Dataset(
            {
                "state": (("sample", "output"), state, {"long_name": "output", "units": "as published"}),
                "condition": (("sample", "input"), values[:, : unit.inputs], {"long_name": "input"}),
                "balance_target": (("sample", "balance"), supplied, {"long_name": "supplied by the inputs"}),
                "balance_matrix": (("balance", "output"), matrix),
            },
            coords={"output": ("output", outputs), "input": ("input", inputs)},
            attrs={"title": f"process unit {self.unit}", "source": unit.file.url},
        )
