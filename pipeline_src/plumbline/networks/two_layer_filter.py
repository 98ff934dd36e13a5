"""Two layers of polynomial graph filters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from plumbline.networks import FilterSpec
from plumbline.spec import key

if TYPE_CHECKING:
    from torch import nn


class TwoLayerFilterSpec(FilterSpec):
    """Two layers of filters, with standard normal weights at initialisation:
    f(x) = F^(-1/2) sum_f sum_k g_fk S^k tanh(sum_l h_fl S^l x).
    """

    kind: Literal["two_layer_filter"] = "two_layer_filter"
    width: int = key("filters", ge=1, default=32)
    """F, the number of filters in the first layer."""

    def build(self, systems: int) -> nn.Module:
        from plumbline.networks._graph_filter import TwoLayerFilter

        return TwoLayerFilter(systems, width=self.width, taps=self.taps)
