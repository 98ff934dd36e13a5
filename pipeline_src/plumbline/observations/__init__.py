"""Observations: noisy measurements of some entries of a state, the data of an inverse problem.

An operator A selects m entries of a flattened state x, and the observation is y = A x + noise * e, with e
standard normal. The noise depends on the observed sample and the observation's seed, not on the seed of a
method: all methods receive the same y.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import numpy as np

from plumbline._lazy import exports
from plumbline.spec import LARGEST_SEED, ByKind, Kind, key

if TYPE_CHECKING:
    from plumbline.observations._observation import Observation


class ObservationSpec(Kind):
    """Base class of the observation kinds."""

    noise: float = key("data's units", gt=0)
    """Standard deviation of the noise."""
    seed: int = key(ge=0, le=LARGEST_SEED, default=0)
    """Seed of the noise."""

    def chosen(self, sizes: Mapping[str, int]) -> np.ndarray:
        """The indices of the observed entries of a flattened state.

        Args:
            sizes: the sizes of a sample's dimensions by name, in order.

        Raises:
            ValueError: the samples do not have the dimensions or entries to observe.
        """
        raise NotImplementedError

    def build(self, sizes: Mapping[str, int]) -> Observation:
        """The observation operator for samples with these dimensions, without measurements."""
        from plumbline.observations._observation import Observation

        return Observation(self.chosen(sizes), self.noise, self.seed)


AnyObservation = Annotated[ObservationSpec, ByKind()]

__getattr__ = exports(
    __name__,
    {
        "_observation": ("Observation",),
        "points": ("PointsSpec",),
        "states": ("StatesSpec",),
    },
)
"""Public classes of the room's modules, imported on first access."""
