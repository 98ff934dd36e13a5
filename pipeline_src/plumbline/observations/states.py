"""Observation of whole states of a trajectory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np

from plumbline.observations import ObservationSpec


class StatesSpec(ObservationSpec):
    """Whole states of a trajectory, along the first dimension of a sample (Feng, Baptista, Bouman 2025)."""

    kind: Literal["states"] = "states"
    which: tuple[int, ...]
    """Places along the first dimension, from zero on; negative ones count from the end."""

    def chosen(self, sizes: Mapping[str, int]) -> np.ndarray:
        dims, shape = tuple(sizes), tuple(sizes.values())
        if "time" in dims[1:]:
            wanted = ["time", *(d for d in dims if d != "time")]
            raise ValueError(
                f"`states` observes along the first dimension of a sample, which must be `time`, found ({', '.join(dims)}): set "
                f"`dataset.dimensions` to [{', '.join(wanted)}]."
            )
        count = shape[0]
        outside = [i for i in self.which if not -count <= i < count]
        if outside or not self.which:
            raise ValueError(
                f"`which`: {list(self.which)} are no places among the {count} states of a sample."
            )
        return np.arange(np.prod(shape)).reshape(shape)[list(self.which)].ravel()
