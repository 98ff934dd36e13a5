"""Images with a given number of objects, as counted by a trained network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from plumbline.constraints import ConstraintSpec, Counting

if TYPE_CHECKING:
    import xarray as xr

    from plumbline.constraints._learned_count import LearnedCount


class LearnedCountSpec(ConstraintSpec):
    """A trained counter finds a given number of objects in an image; there is no projection."""

    kind: Literal["learned_count"] = "learned_count"
    counter: str
    """Name of the counter, one of the study's `models`."""
    count: float = 8.0
    """The required number of objects."""

    def build(self, example: xr.Dataset) -> LearnedCount:
        from plumbline.constraints._learned_count import LearnedCount

        return LearnedCount(self.counter, self.count)

    def depends_on(self) -> dict[str, type]:
        return {self.counter: Counting}
