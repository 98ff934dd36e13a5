"""Networks: plain `nn.Module`s, without losses, data or file access.

A backbone maps (x, level, condition) to a tensor like x, for samples x of shape (B, ...), one noise level per
sample or for all samples, and an optional conditioning vector per sample. Some networks over grids also take
`field`, a conditioning field per sample on the same grid.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Literal

from plumbline._lazy import exports
from plumbline.networks._shape import SampleShape
from plumbline.spec import ByKind, Kind, key

if TYPE_CHECKING:
    from torch import nn


class NetworkSpec(Kind):
    """Base class of the network kinds."""

    def build(self, sample: SampleShape) -> nn.Module:
        """Builds a backbone for samples of this shape."""
        raise NotImplementedError


class GridNetworkSpec(NetworkSpec):
    """Base class of the networks over grids of one, two or three dimensions."""

    grid_dimensions: Literal[1, 2, 3] = 2
    """Number of dimensions of the grid, the last ones of a sample; any before them count as channels."""


AnyNetwork = Annotated[NetworkSpec, ByKind()]


class EncoderSpec(Kind):
    """Base class of encoders: networks that extract features from whole samples."""

    def encoder(self, sample: SampleShape, condition: int) -> nn.Module:
        """Builds a network from (B, n + condition) to (B, features).

        Its input is the flattened samples (B, n), followed by `condition` conditioning values per sample.
        """
        raise NotImplementedError

    def features_of(self, sample: SampleShape) -> int:
        """Number of features that the encoder extracts from samples of this shape."""
        raise NotImplementedError


class DecoderSpec(Kind):
    """Base class of decoders: networks that generate whole samples."""

    def decoder(self, inputs: int, sample: SampleShape) -> nn.Module:
        """Builds a network from (B, inputs) to the features that the head takes."""
        raise NotImplementedError

    def head(self, sample: SampleShape, initial_std: float, min_std: float) -> nn.Module:
        """Builds the head that computes mean and variance (B, n) of flattened samples from the features.

        Args:
            sample: the shape of the samples.
            initial_std: standard deviation at initialisation.
            min_std: lower bound of the standard deviation.
        """
        raise NotImplementedError


class RegressorSpec(EncoderSpec, DecoderSpec):
    """Base class of networks that map vectors to features, on which heads operate."""

    def build(self, inputs: int) -> nn.Module:
        """Builds a network from (B, inputs) to (B, features)."""
        raise NotImplementedError

    def features(self) -> int:
        """Number of features of the output."""
        raise NotImplementedError

    def encoder(self, sample: SampleShape, condition: int) -> nn.Module:
        return self.build(math.prod(sample.shape) + condition)

    def features_of(self, sample: SampleShape) -> int:
        return self.features()

    def decoder(self, inputs: int, sample: SampleShape) -> nn.Module:
        return self.build(inputs)

    def head(self, sample: SampleShape, initial_std: float, min_std: float) -> nn.Module:
        from plumbline.networks._blocks import GaussianHead

        return GaussianHead(self.features(), math.prod(sample.shape), initial_std, min_std)


AnyEncoder = Annotated[EncoderSpec, ByKind()]
AnyDecoder = Annotated[DecoderSpec, ByKind()]
AnyRegressor = Annotated[RegressorSpec, ByKind()]


class GraphNetworkSpec(Kind):
    """Base class of networks that map a graph of atoms to features of each atom."""

    def build(self, elements: int) -> nn.Module:
        """Builds a network from (species, bonds, lengths) to (N, features), for this number of elements."""
        raise NotImplementedError

    def features(self) -> int:
        """Number of features per atom."""
        raise NotImplementedError


AnyGraphNetwork = Annotated[GraphNetworkSpec, ByKind()]


class FilterSpec(Kind):
    """Base class of polynomial graph filters: networks over the nodes of a graph.

    With a graph shift operator S, a symmetric matrix over the nodes, a filter with K taps computes
    sum_{k < K} h_k S^k x. Several systems, each with its own weights, are trained in parallel.
    """

    taps: int = key(ge=1, default=2)
    """K, the number of powers of the shift operator, starting at S^0."""

    def build(self, systems: int) -> nn.Module:
        """Builds a network from x (B, n), S (B, n, n) and the system of each sample (B,) to (B, n)."""
        raise NotImplementedError


AnyFilter = Annotated[FilterSpec, ByKind()]

__getattr__ = exports(
    __name__,
    {
        "_mlp": ("ResidualMLP",),
        "_unet": ("UNetBackbone",),
        "_dit": ("TransformerBackbone",),
        "_fno": ("FourierNeuralOperator",),
        "_resnet": ("ResNetGenerator",),
        "_input_convex": ("InputConvexGradient",),
        "_perceptron": ("Perceptron",),
        "_gated_graph": ("GatedGraphNetwork",),
        "_graph_filter": (
            "LinearFilter",
            "TwoLayerFilter",
        ),
        "convolutional": ("ConvolutionalSpec",),
        "deconvolutional": ("DeconvolutionalSpec",),
        "dit": ("DiTSpec",),
        "fno": ("FNOSpec",),
        "gated_graph": ("GatedGraphSpec",),
        "input_convex": ("InputConvexSpec",),
        "linear_filter": ("LinearFilterSpec",),
        "mlp": ("MLPSpec",),
        "perceptron": ("PerceptronSpec",),
        "resnet": ("ResNetSpec",),
        "tiled": ("TiledSpec",),
        "two_layer_filter": ("TwoLayerFilterSpec",),
        "unet": ("UNetSpec",),
    },
)
"""Public classes of the room's modules, imported on first access."""
