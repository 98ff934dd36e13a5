"""Observation of whole states of a trajectory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np

from plumbline.observations import ObservationSpec


class StatesSpec(ObservationSpec):
    """Observes whole states of a trajectory, along the first dimension of a sample.

    As in Feng, Baptista and Bouman (ICLR 2025), https://arxiv.org/abs/2406.12816.
    """

    kind: Literal["states"] = "states"
    which: tuple[int, ...]
    """Indices along the first dimension, starting at zero; negative indices count from the end."""

    def chosen(self, sizes: Mapping[str, int]) -> np.ndarray:
        dims, shape = tuple(sizes), tuple(sizes.values())
        if "time" in dims[1:]:
            reordered = ["time", *(d for d in dims if d != "time")]
            raise ValueError(
                "`states` observes along the first dimension of a sample, which must be `time`, "
                f"found ({', '.join(dims)}): set `dataset.dimensions` to [{', '.join(reordered)}]."
            )
        count = shape[0]
        outside = [i for i in self.which if not -count <= i < count]
        if outside or not self.which:
            raise ValueError(
                f"`which`: {list(self.which)} must be indices of the {count} states of a sample."
            )
        return np.arange(np.prod(shape)).reshape(shape)[list(self.which)].ravel()
