"""Images that hold a given number of things, by the count of a trained network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from plumbline.constraints import ConstraintSpec, Counting

if TYPE_CHECKING:
    import xarray as xr

    from plumbline.constraints._learned_count import LearnedCount


class LearnedCountSpec(ConstraintSpec):
    """The number that a trained counter sees in an image is the one asked for; there is no projection."""

    kind: Literal["learned_count"] = "learned_count"
    counter: str
    """Name of the counter, one of the study's `models`."""
    count: float = 8.0
    """The number."""

    def build(self, example: xr.Dataset) -> LearnedCount:
        from plumbline.constraints._learned_count import LearnedCount

        return LearnedCount(self.counter, self.count)

    def depends_on(self) -> dict[str, type]:
        return {self.counter: Counting}
