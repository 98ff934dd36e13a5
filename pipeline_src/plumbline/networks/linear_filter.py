"""One polynomial graph filter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from plumbline.networks import FilterSpec

if TYPE_CHECKING:
    from torch import nn


class LinearFilterSpec(FilterSpec):
    """One filter, f(x) = sum_k h_k S^k x, with all weights zero at initialisation."""

    kind: Literal["linear_filter"] = "linear_filter"

    def build(self, systems: int) -> nn.Module:
        from plumbline.networks._graph_filter import LinearFilter

        return LinearFilter(systems, taps=self.taps)
