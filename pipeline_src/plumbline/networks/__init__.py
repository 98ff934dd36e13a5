"""Networks: `nn.Module`s only, without losses, data or files.

A backbone maps (x, time, condition) to a tensor like x: samples of shape (B, ...), one noise level a sample
or for all, and an optional vector a sample.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

from plumbline._lazy import exports
from plumbline.networks._shape import SampleShape
from plumbline.spec import ByKind, Kind, key

if TYPE_CHECKING:
    from torch import nn


class NetworkSpec(Kind):
    """Base of the network kinds."""

    def build(self, sample: SampleShape) -> nn.Module:
        """A backbone for samples of this shape."""
        raise NotImplementedError


AnyNetwork = Annotated[NetworkSpec, ByKind()]


class EncoderSpec(Kind):
    """Base of the networks that read features off whole samples: encoders."""

    def encoder(self, sample: SampleShape, told: int) -> nn.Module:
        """A network from flattened samples and `told` numbers of each (B, n + told) to (B, features)."""
        raise NotImplementedError

    def features_of(self, sample: SampleShape) -> int:
        """How many features it gives of samples of this shape."""
        raise NotImplementedError


class DecoderSpec(Kind):
    """Base of the networks that write whole samples: decoders."""

    def decoder(self, inputs: int, sample: SampleShape) -> nn.Module:
        """A network from (B, inputs) to features that the head reads."""
        raise NotImplementedError

    def head(self, sample: SampleShape, initial_std: float, min_std: float) -> nn.Module:
        """The head that reads mean and variance (B, n) of flattened samples off the features."""
        raise NotImplementedError


class RegressorSpec(EncoderSpec, DecoderSpec):
    """Base of the networks that turn a vector of numbers into features, for heads to read."""

    def build(self, inputs: int) -> nn.Module:
        """A network from (B, inputs) to (B, features)."""
        raise NotImplementedError

    def features(self) -> int:
        """How many features it gives."""
        raise NotImplementedError

    def encoder(self, sample: SampleShape, told: int) -> nn.Module:
        return self.build(math.prod(sample.shape) + told)

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
    """Base of the networks that turn a graph of atoms into features of each atom."""

    def build(self, elements: int) -> nn.Module:
        """A network from (species, bonds, lengths) to (N, features)."""
        raise NotImplementedError

    def features(self) -> int:
        """How many features it gives an atom."""
        raise NotImplementedError


AnyGraphNetwork = Annotated[GraphNetworkSpec, ByKind()]


class FilterSpec(Kind):
    """Base of the polynomial graph filters: networks over the nodes of a graph, given by the powers of one matrix.

    With the graph shift operator S, a symmetric matrix over the nodes, a filter of K taps is sum_{k < K} h_k S^k x. Each of
    several systems has weights of its own; they are trained side by side.
    """

    taps: int = key(ge=1, default=2)
    """K, powers of the shift operator, from the zeroth."""

    def build(self, systems: int) -> nn.Module:
        """A network from x (B, n), S (B, n, n) and the system of each sample (B,) to (B, n)."""
        raise NotImplementedError


AnyFilter = Annotated[FilterSpec, ByKind()]

__getattr__ = exports(
    __name__,
    {
        "_mlp": ("ResidualMLP",),
        "_unet": ("UNetBackbone",),
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
"""Public classes of the room's modules, imported when they are first asked for."""
