"""The residual generator: a convolution, two halvings, residual blocks, two doublings, a convolution.

From CycleGAN (Zhu, Park, Isola, Efros 2017), https://arxiv.org/abs/1703.10593.
"""

from __future__ import annotations

from typing import Literal, cast

from jaxtyping import Float
from torch import Tensor, nn

from plumbline.networks import SampleShape
from plumbline.networks._blocks import AxisPadding, LevelEmbedding, grid_of, refuse_field

Norm = Literal["none", "instance", "affine_instance"]
Initialisation = Literal["residual", "normal"]


class ResNetGenerator(nn.Module):
    """Maps samples (B, *S) to outputs of the same shape; all dimensions before the grid count as channels.

    Args:
        sample: the shape of samples.
        channels: channels at full resolution; each of two halvings doubles them.
        blocks: number of residual blocks.
        norm: instance normalisation, with or without a learned scale and shift of each channel, or none.
        padding: `by_axis` pads circularly along the periodic axes of the samples and with zeros along the
            others; `zeros` pads with zeros along all axes.
        doubling: doubles the resolution by repetition and a convolution (`repeated`), or by a transposed
            convolution (`transposed`).
        dropout: fraction of features dropped in training.
        embedding: dimension of the embedding of noise level and condition; zero for a network that depends on
            neither.
        initialisation: `residual` keeps the variance of features and starts with an output of zero; `normal`
            has weights of N(0, .02^2) and scales of N(1, .02^2), as CycleGAN.

    Raises:
        ValueError: the grid cannot be halved twice, or the condition is a field.
    """

    def __init__(
        self,
        sample: SampleShape,
        *,
        channels: int = 64,
        blocks: int = 6,
        norm: Norm = "none",
        padding: Literal["by_axis", "zeros"] = "by_axis",
        doubling: Literal["repeated", "transposed"] = "repeated",
        dropout: float = 0.0,
        embedding: int = 64,
        initialisation: Initialisation = "residual",
    ) -> None:
        super().__init__()
        refuse_field(sample, "resnet")
        self.grid, self.shape = grid_of(sample), sample.output_shape
        if any(size % 4 for size in self.grid[1:]):
            raise ValueError(f"a `resnet` needs a grid divisible by 4, found {self.grid[1:]}.")
        periodic = (False, False) if padding == "zeros" else sample.periodic_axes(2)
        self.embedding = LevelEmbedding(embedding, sample.condition) if embedding else None
        inputs, c = self.grid[0], channels
        self.down = nn.Sequential(
            ConvolutionLayer(inputs, c, periodic, norm, size=7),
            ConvolutionLayer(c, 2 * c, periodic, norm, stride=2),
            ConvolutionLayer(2 * c, 4 * c, periodic, norm, stride=2),
        )
        self.blocks = nn.ModuleList(
            ResidualBlock(4 * c, periodic, norm, dropout=dropout, embedding=embedding) for _ in range(blocks)
        )
        self.up = nn.Sequential(
            *_doubling(4 * c, 2 * c, periodic, norm, doubling),
            *_doubling(2 * c, c, periodic, norm, doubling),
            AxisPadding((3, 3), periodic),
        )
        self.last = nn.Conv2d(c, inputs * sample.outputs, 7)
        if initialisation == "normal":
            _initialise_normally(self)
        else:
            _initialise(self)

    def forward(
        self, x: Float[Tensor, "B *S"], level: Tensor | None = None, condition: Tensor | None = None
    ) -> Float[Tensor, "B *O"]:
        """The network's output for x; without an embedding, the noise level and the condition are ignored."""
        h = self.down(x.reshape(-1, *self.grid))
        embedded = None if self.embedding is None else self.embedding(level, condition)
        for block in self.blocks:
            h = block(h, embedded)
        return self.last(self.up(h)).view(-1, *self.shape)


class ConvolutionLayer(nn.Sequential):
    """Padding, convolution, normalisation, ReLU."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        periodic: tuple[bool, ...],
        norm: Norm,
        size: int = 3,
        stride: int = 1,
    ) -> None:
        padding = AxisPadding((size // 2, size // 2), periodic)
        super().__init__(padding, nn.Conv2d(inputs, outputs, size, stride), _norm(norm, outputs), nn.ReLU())


class ResidualBlock(nn.Module):
    """h + N(C(dropout(s(N(C h))))): convolutions C, norms N, ReLU s; the embedding modulates N(C h)."""

    def __init__(
        self, channels: int, periodic: tuple[bool, ...], norm: Norm, *, dropout: float, embedding: int
    ) -> None:
        super().__init__()
        padding = AxisPadding((1, 1), periodic)
        self.first = nn.Sequential(padding, nn.Conv2d(channels, channels, 3), _norm(norm, channels))
        self.between = nn.Sequential(nn.ReLU(), nn.Dropout(dropout), padding)
        self.last = nn.Conv2d(channels, channels, 3)
        self.norm = _norm(norm, channels)
        self.modulation = nn.Linear(embedding, 2 * channels) if embedding else None

    def forward(self, h: Float[Tensor, "B C H W"], embedded: Tensor | None) -> Float[Tensor, "B C H W"]:
        """The features after the block."""
        inner = self.first(h)
        if self.modulation is not None and embedded is not None:
            scale, shift = self.modulation(embedded)[..., None, None].chunk(2, dim=1)
            inner = inner * (1 + scale) + shift
        return h + self.norm(self.last(self.between(inner)))


def _doubling(
    inputs: int, outputs: int, periodic: tuple[bool, ...], norm: Norm, doubling: str
) -> list[nn.Module]:
    """Layers that double the resolution; transposed convolutions cause checkerboard artefacts."""
    if doubling == "repeated":
        return [nn.Upsample(scale_factor=2), ConvolutionLayer(inputs, outputs, periodic, norm)]
    transposed = nn.ConvTranspose2d(inputs, outputs, 3, stride=2, padding=1, output_padding=1)
    return [transposed, _norm(norm, outputs), nn.ReLU()]


def _norm(norm: Norm, channels: int) -> nn.Module:
    if norm == "none":
        return nn.Identity()
    return nn.InstanceNorm2d(channels, affine=norm == "affine_instance")


def _initialise(network: ResNetGenerator) -> None:
    """Initialises the weights.

    The weights preserve the variance through ReLUs (He et al. 2015, https://arxiv.org/abs/1502.01852), which
    a network without normalisation needs. The residuals of the blocks and the network's output start at zero,
    so that an inverse map, which adds the output to its input, starts as the identity.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            nn.init.zeros_(cast(Tensor, module.bias))
    for block in network.blocks:
        nn.init.zeros_(cast(ResidualBlock, block).last.weight)
    nn.init.zeros_(network.last.weight)


def _initialise_normally(network: ResNetGenerator) -> None:
    """Initialises weights with N(0, .02^2), scales of norms with N(1, .02^2), and biases with zero."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, std=0.02)
            nn.init.zeros_(cast(Tensor, module.bias))
        elif isinstance(module, nn.InstanceNorm2d) and module.affine:
            nn.init.normal_(module.weight, 1.0, 0.02)
            nn.init.zeros_(module.bias)
