"""The residual generator: a convolution, two halvings, residual blocks, two doublings, a convolution."""

from __future__ import annotations

from typing import cast

from jaxtyping import Float
from torch import Tensor, nn

from plumbline.networks import SampleShape
from plumbline.networks._blocks import AxisPadding, LevelEmbedding, grid_of
from plumbline.networks.resnet import ResNetSpec


class ResNetGenerator(nn.Module):
    """A map of samples (B, *S), whose dimensions before the grid are channels, to ones of the same shape.

    Raises:
        ValueError: the grid cannot be halved twice.
    """

    def __init__(self, spec: ResNetSpec, sample: SampleShape) -> None:
        super().__init__()
        self.grid, self.shape = grid_of(sample), sample.output_shape
        if any(size % 4 for size in self.grid[1:]):
            raise ValueError(f"a `resnet` needs a grid divisible by 4, found {self.grid[1:]}.")
        periodic = (False, False) if spec.padding == "zeros" else sample.periodic
        features = spec.embedding
        self.embedding = LevelEmbedding(features, sample.condition) if features else None
        inputs, c = self.grid[0], spec.channels
        self.down = nn.Sequential(
            ConvolutionLayer(spec, inputs, c, periodic, size=7),
            ConvolutionLayer(spec, c, 2 * c, periodic, stride=2),
            ConvolutionLayer(spec, 2 * c, 4 * c, periodic, stride=2),
        )
        self.blocks = nn.ModuleList(ResidualBlock(spec, 4 * c, periodic) for _ in range(spec.blocks))
        self.up = nn.Sequential(
            *_doubling(spec, 4 * c, 2 * c, periodic),
            *_doubling(spec, 2 * c, c, periodic),
            AxisPadding((3, 3), periodic),
        )
        self.last = nn.Conv2d(c, inputs * sample.outputs, 7)
        _initialise(self)

    def forward(
        self, x: Float[Tensor, "B *S"], level: Tensor | None = None, condition: Tensor | None = None
    ) -> Float[Tensor, "B *O"]:
        """The image of x, at a noise level if the network has an embedding of it."""
        h = self.down(x.reshape(-1, *self.grid))
        embedded = None if self.embedding is None else self.embedding(level, condition)
        for block in self.blocks:
            h = block(h, embedded)
        return self.last(self.up(h)).view(-1, *self.shape)


class ConvolutionLayer(nn.Sequential):
    """Padding, convolution, norm, rectifier."""

    def __init__(
        self,
        spec: ResNetSpec,
        inputs: int,
        outputs: int,
        periodic: tuple[bool, ...],
        size: int = 3,
        stride: int = 1,
    ) -> None:
        padding = AxisPadding((size // 2, size // 2), periodic)
        super().__init__(padding, nn.Conv2d(inputs, outputs, size, stride), _norm(spec, outputs), nn.ReLU())


class ResidualBlock(nn.Module):
    """h + N(C(dropout(s(N(C h))))), where the embedding shifts and scales the inner features."""

    def __init__(self, spec: ResNetSpec, channels: int, periodic: tuple[bool, ...]) -> None:
        super().__init__()
        padding = AxisPadding((1, 1), periodic)
        self.first = nn.Sequential(padding, nn.Conv2d(channels, channels, 3), _norm(spec, channels))
        self.between = nn.Sequential(nn.ReLU(), nn.Dropout(spec.dropout), padding)
        self.last = nn.Conv2d(channels, channels, 3)
        self.norm = _norm(spec, channels)
        self.modulation = nn.Linear(spec.embedding, 2 * channels) if spec.embedding else None

    def forward(self, h: Float[Tensor, "B C H W"], embedded: Tensor | None) -> Float[Tensor, "B C H W"]:
        """The features after the block."""
        inner = self.first(h)
        if self.modulation is not None and embedded is not None:
            scale, shift = self.modulation(embedded)[..., None, None].chunk(2, dim=1)
            inner = inner * (1 + scale) + shift
        return h + self.norm(self.last(self.between(inner)))


def _doubling(spec: ResNetSpec, inputs: int, outputs: int, periodic: tuple[bool, ...]) -> list[nn.Module]:
    """Layers that double the resolution; transposed convolutions leave the pattern of their stride in what they give."""
    if spec.doubling == "repeated":
        return [nn.Upsample(scale_factor=2), ConvolutionLayer(spec, inputs, outputs, periodic)]
    transposed = nn.ConvTranspose2d(inputs, outputs, 3, stride=2, padding=1, output_padding=1)
    return [transposed, _norm(spec, outputs), nn.ReLU()]


def _norm(spec: ResNetSpec, channels: int) -> nn.Module:
    return nn.InstanceNorm2d(channels) if spec.norm == "instance" else nn.Identity()


def _initialise(network: ResNetGenerator) -> None:
    """Weights that keep the variance through rectifiers, as nothing else does where there is no norm (He et al. 2015).

    What a block adds, and the output, start at zero: added to its input, as inverse maps add it, the network starts as
    the identity.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            nn.init.zeros_(cast(Tensor, module.bias))
    for block in network.blocks:
        nn.init.zeros_(cast(ResidualBlock, block).last.weight)
    nn.init.zeros_(network.last.weight)
