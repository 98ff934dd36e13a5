"""Backbones: shapes, periodicity, conditions, errors."""

import pytest
import torch

from plumbline.networks import SampleShape
from plumbline.networks._blocks import AxisPadding, ChannelNorm
from plumbline.networks.mlp import MLPSpec
from plumbline.networks.unet import UNetSpec

SMALL = UNetSpec(channels=(8, 16), blocks=(1, 1), embedding=8)


@pytest.mark.parametrize("shape", [(16, 8), (3, 16, 8), (2, 3, 8, 8)])
def test_unet_keeps_the_shape(shape):
    network = SMALL.build(SampleShape(shape, (False, True), condition=2))
    x = torch.randn(5, *shape)
    for level in (torch.tensor(0.3), torch.randn(5)):
        assert network(x, level, torch.randn(5, 2)).shape == x.shape
    with pytest.raises(ValueError, match="given none"):
        network(x, torch.tensor(0.3))


@pytest.mark.parametrize("periodic", [(False, True), (True, False), (True, True)])
def test_unet_commutes_with_shifts_along_periodic_axes_only(periodic):
    """A shift by a multiple of the stride along a periodic axis shifts the output."""
    network = SMALL.build(SampleShape((16, 16), periodic)).eval()
    x, level = torch.randn(1, 16, 16), torch.tensor(0.1)
    for axis, wraps in zip((1, 2), periodic, strict=True):
        moved = network(torch.roll(x, 4, axis), level)
        assert torch.allclose(moved, torch.roll(network(x, level), 4, axis), atol=1e-5) == wraps


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("amount", [(1, 1), (3, 2), (0, 1)])
@pytest.mark.parametrize("periodic", [(False, False), (False, True), (True, False), (True, True)])
def test_padding_follows_each_axis_and_keeps_the_layout(amount, periodic, layout):
    """Equals torch's padding, applied along one axis after the other."""
    x = torch.randn(2, 3, 5, 6).contiguous(memory_format=layout)
    modes = ["circular" if wraps else "constant" for wraps in periodic]
    rows = torch.nn.functional.pad(x, (0, 0, amount[0], amount[0]), mode=modes[0])
    expected = torch.nn.functional.pad(rows, (amount[1], amount[1], 0, 0), mode=modes[1])
    padded = AxisPadding(amount, periodic)(x)
    assert torch.equal(padded, expected)
    assert padded.is_contiguous(memory_format=layout)


def test_channels_are_normalised_at_each_point():
    x = torch.randn(2, 8, 3, 5, dtype=torch.float64).contiguous(memory_format=torch.channels_last)
    normalised = ChannelNorm()(x)
    std = torch.sqrt(x.var(dim=1, keepdim=True, correction=0) + 1e-5)
    assert torch.allclose(normalised, (x - x.mean(dim=1, keepdim=True)) / std, atol=1e-12)
    assert normalised.is_contiguous(memory_format=torch.channels_last)


def test_mlp_uses_level_and_condition():
    network = MLPSpec(width=32, blocks=2, embedding=8).build(SampleShape((7,), (), condition=3))
    x, c = torch.randn(4, 7), torch.randn(4, 3)
    base = network(x, torch.tensor(0.0), c)
    assert base.shape == x.shape
    assert not torch.allclose(base, network(x, torch.tensor(2.0), c))
    assert not torch.allclose(base, network(x, torch.tensor(0.0), c + 1))


@pytest.mark.parametrize(
    ("sample", "words"),
    [(SampleShape((7,), ()), "use `mlp`"), (SampleShape((15, 16), (False, True)), "divisible by 2")],
)
def test_unfit_samples_are_refused(sample, words):
    with pytest.raises(ValueError, match=words):
        SMALL.build(sample)
