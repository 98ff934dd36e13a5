r"""Polynomial graph filters: networks over the nodes of a graph that know it through the powers of one matrix.

With the graph shift operator S, a symmetric matrix over the nodes, a filter of K taps is sum_{k < K} h_k S^k x. Networks here have
weights of their own for each of several systems, which are trained side by side.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from plumbline.spec import ByKind, Kind, key

if TYPE_CHECKING:
    from torch import nn


class FilterSpec(Kind):
    """Base of the kinds of filters."""

    taps: int = key(ge=1, default=2)
    """K, powers of the shift operator, from the zeroth."""

    def build(self, systems: int) -> nn.Module:
        """A network from x (B, n), S (B, n, n) and the system of each sample (B,) to (B, n)."""
        raise NotImplementedError


class LinearFilterSpec(FilterSpec):
    """One filter, from zero: f(x) = sum_k h_k S^k x."""

    kind: Literal["linear_filter"] = "linear_filter"

    def build(self, systems: int) -> nn.Module:
        from plumbline.networks._graph_filter import LinearFilter

        return LinearFilter(self, systems)


class TwoLayerFilterSpec(FilterSpec):
    """Two layers of filters: f(x) = F^(-1/2) sum_f sum_k g_fk S^k tanh(sum_l h_fl S^l x), weights normal at the start."""

    kind: Literal["two_layer_filter"] = "two_layer_filter"
    width: int = key("filters", ge=1, default=32)
    """F, filters of the first layer."""

    def build(self, systems: int) -> nn.Module:
        from plumbline.networks._graph_filter import TwoLayerFilter

        return TwoLayerFilter(self, systems)


AnyFilter = Annotated[FilterSpec, ByKind()]
