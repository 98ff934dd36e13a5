"""Observations: what is known of a state in an inverse problem, some of its numbers, measured with noise.

An operator A picks numbers of a state x; what is observed is y = A x + noise e, with e standard normal. The noise
belongs to the sample that is observed, not to the seed of a method: all methods see the same y.
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
    """Base of the observation kinds."""

    noise: float = key("data's units", gt=0)
    """Standard deviation of the noise."""
    seed: int = key(ge=0, le=LARGEST_SEED, default=0)
    """Seed of the noise."""

    def chosen(self, sizes: Mapping[str, int]) -> np.ndarray:
        """Which numbers of a flattened state are observed.

        Args:
            sizes: the dimensions of a sample by name, in order.

        Raises:
            ValueError: the state has no such numbers.
        """
        raise NotImplementedError

    def build(self, sizes: Mapping[str, int]) -> Observation:
        """The operator on samples with these dimensions, without measurements yet."""
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
"""Public classes of the room's modules, imported when they are first asked for."""
