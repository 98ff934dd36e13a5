"""Backbones: shapes, periodicity, conditions, errors."""

import pytest
import torch
from pydantic import ValidationError

from plumbline.networks import SampleShape
from plumbline.networks._attention import SelfAttention
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


def test_attention_is_its_formula():
    """Against the sums written out, for random weights of both layers."""
    torch.manual_seed(0)
    layer = SelfAttention(6).double()
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter)
    x = torch.randn(2, 6, 3, 4, dtype=torch.float64)
    points = x.flatten(2).mT
    h = (points - points.mean(-1, keepdim=True)) / (points.var(-1, keepdim=True, correction=0) + 1e-5).sqrt()
    q, k, v = (h @ layer.inputs.weight.T + layer.inputs.bias).chunk(3, dim=-1)
    weights = torch.softmax(q @ k.mT / 6**0.5, dim=-1)
    expected = points + (weights @ v) @ layer.outputs.weight.T + layer.outputs.bias
    torch.testing.assert_close(layer(x), expected.mT.view_as(x))


@pytest.mark.parametrize("depth", [0, 1])
def test_attention_connects_all_points_and_starts_without_effect(depth):
    """Convolutions alone connect points that are less than 24 apart."""
    sample = SampleShape((1, 32, 32), (False, False))
    spec = UNetSpec(channels=(8, 8), blocks=(1, 1), embedding=8)
    torch.manual_seed(0)
    attending = spec.model_copy(update={"attention": (depth,)}).build(sample).double()
    layers = [m for m in attending.modules() if isinstance(m, SelfAttention)]
    assert len(layers) == 2
    x = torch.randn(1, 1, 32, 32, dtype=torch.float64)
    moved = x.clone()
    moved[..., 31, 31] += 1.0
    level = torch.zeros(1, dtype=torch.float64)

    def reach():
        with torch.no_grad():
            return float((attending(moved, level) - attending(x, level))[..., 0, 0].abs().max())

    assert reach() == 0.0
    for layer in layers:
        torch.nn.init.normal_(layer.outputs.weight)
    assert reach() > 0


def test_an_attention_beyond_the_last_depth_is_refused():
    with pytest.raises(ValidationError, match="`attention` counts depths from zero and there are 2"):
        UNetSpec(channels=(8, 8), blocks=(1, 1), attention=(2,))
