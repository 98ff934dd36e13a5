"""`unet`, `dit` and `fno` over grids of one to three dimensions, with vectors and fields as conditions."""

import math

import pytest
import torch
from torch.func import functional_call

from plumbline.networks import SampleShape
from plumbline.networks._fno import SpectralConvolution
from plumbline.networks.dit import DiTSpec
from plumbline.networks.fno import FNOSpec
from plumbline.networks.mlp import MLPSpec
from plumbline.networks.resnet import ResNetSpec
from plumbline.networks.tiled import TiledSpec
from plumbline.networks.unet import UNetSpec

SMALL = {
    "unet": UNetSpec(channels=(8, 16), blocks=(1, 1), embedding=8),
    "dit": DiTSpec(patch=2, width=16, blocks=1, heads=2, embedding=8),
    "fno": FNOSpec(width=8, modes=3, blocks=2, embedding=8),
}
SHAPES = {1: (16,), 2: (8, 12), 3: (4, 8, 6)}
LEVEL = torch.tensor(0.1)


def small(kind: str, dimensions: int, **options):
    return SMALL[kind].model_copy(update={"grid_dimensions": dimensions, **options})


def sample(dimensions: int, *leading: int, **options) -> SampleShape:
    return SampleShape((*leading, *SHAPES[dimensions]), (False, True, True)[-dimensions:], **options)


@pytest.mark.parametrize("leading", [(), (2,), (3, 2)])
@pytest.mark.parametrize("dimensions", [1, 2, 3])
@pytest.mark.parametrize("kind", SMALL)
def test_the_output_has_the_shape_of_the_sample(kind, dimensions, leading):
    shape = sample(dimensions, *leading, condition=2)
    x, condition = torch.randn(5, *shape.shape), torch.randn(5, 2)
    network = small(kind, dimensions).build(shape)
    for level in (LEVEL, torch.randn(5)):
        assert network(x, level, condition).shape == x.shape
    twice = small(kind, dimensions).build(sample(dimensions, *leading, condition=2, outputs=2))
    assert twice(x, LEVEL, condition).shape == (5, 2, *shape.shape)
    with pytest.raises(ValueError, match="given none"):
        network(x, LEVEL)


@pytest.mark.parametrize("dimensions", [1, 2, 3])
@pytest.mark.parametrize(("kind", "step"), [("unet", 2), ("fno", 1)])
def test_a_shift_along_a_periodic_axis_shifts_the_output(kind, step, dimensions):
    """By a multiple of the stride of the U-Net, and by any number of points for the operator."""
    torch.manual_seed(0)
    for wraps in (True, False):
        shape = SampleShape((2, *SHAPES[dimensions]), (wraps,) * dimensions)
        network = small(kind, dimensions).build(shape).double()
        for parameter in network.parameters():
            parameter.data += 0.1 * torch.randn_like(parameter)
        x, level = torch.randn(2, *shape.shape, dtype=torch.float64), LEVEL.double()
        for axis in range(2, 2 + dimensions):
            moved, expected = network(x.roll(step, axis), level), network(x, level).roll(step, axis)
            assert torch.allclose(moved, expected, atol=1e-10) == wraps


def test_the_positions_of_a_transformer_are_absolute():
    shape = SampleShape((16,), (True,))
    network = small("dit", 1).build(shape)
    for parameter in network.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    x = torch.randn(2, 16)
    assert not torch.allclose(network(x.roll(2, 1), LEVEL), network(x, LEVEL).roll(2, 1), atol=1e-3)


def band_limited(points: int, dimensions: int) -> torch.Tensor:
    """The same smooth periodic field of two channels on a grid of this many points along each axis."""
    generator = torch.Generator().manual_seed(0)
    x = 2 * math.pi * torch.arange(points, dtype=torch.float64) / points
    field = torch.zeros(1, 2, *(points,) * dimensions, dtype=torch.float64)
    for channel in range(2):
        for _ in range(4):
            modes = torch.randint(-2, 3, (dimensions,), generator=generator)
            phase = 6 * torch.rand((), generator=generator)
            axes = torch.meshgrid(*[x] * dimensions, indexing="ij")
            field[0, channel] += torch.cos(sum(k * a for k, a in zip(modes, axes, strict=True)) + phase)
    return field


@pytest.mark.parametrize("dimensions", [1, 2, 3])
@pytest.mark.parametrize("wraps", [True, False])
def test_the_operator_applies_to_a_finer_grid(wraps, dimensions):
    """At the points of the coarse grid, the outputs agree up to the aliasing by the activations."""
    torch.manual_seed(0)
    coarse = SampleShape((2, *(16,) * dimensions), (wraps,) * dimensions)
    network = small("fno", dimensions, modes=4).build(coarse).double()
    inputs = {points: band_limited(points, dimensions) for points in (16, 32)}
    outputs = {points: network(x, LEVEL.double()) for points, x in inputs.items()}
    every = (..., *(slice(None, None, 2) for _ in range(dimensions)))
    assert outputs[32].shape == inputs[32].shape
    error = (outputs[32][every] - outputs[16]).norm() / outputs[16].norm()
    assert error < (0.01 if wraps else 0.1)


@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_a_spectral_convolution_is_exact_at_any_resolution(dimensions):
    """It multiplies cos(k x) in the band by a complex number, on any grid, and removes what lies beyond."""
    torch.manual_seed(0)
    layer = SpectralConvolution(2, (3,) * dimensions).double()
    fields = {points: layer(band_limited(points, dimensions)) for points in (9, 18)}
    every = (..., *(slice(None, None, 2) for _ in range(dimensions)))
    torch.testing.assert_close(fields[18][every], fields[9])
    x = 2 * math.pi * torch.arange(16, dtype=torch.float64) / 16
    beyond = torch.cos(3 * x).expand(1, 2, *(16,) * dimensions)
    assert layer(beyond).abs().max() < 1e-12
    if dimensions == 1:
        one = torch.stack([torch.cos(2 * x), torch.zeros_like(x)])[None]
        factor = torch.view_as_complex(layer.weight)[0, :, 2]
        expected = (factor[:, None] * torch.exp(2j * x)).real
        torch.testing.assert_close(layer(one)[0], expected)


@pytest.mark.rejects
def test_a_grid_that_does_not_resolve_the_modes_is_refused():
    network = SMALL["fno"].build(SampleShape((16, 16), (True, True)))
    with pytest.raises(ValueError, match=r"a grid of \(4, 4\) points does not resolve the \(3, 3\)"):
        network(torch.randn(1, 4, 4), LEVEL)


@pytest.mark.parametrize("dimensions", [1, 2, 3])
@pytest.mark.parametrize("kind", SMALL)
def test_gradients_reach_all_parameters_and_a_step_lowers_the_loss(kind, dimensions):
    torch.manual_seed(0)
    field = (2, *SHAPES[dimensions])
    shape = sample(dimensions, 1, condition=3, field=field, shared=dimensions)
    network = small(kind, dimensions).build(shape)
    x, condition = torch.randn(8, *shape.shape), torch.randn(8, 3)
    given = torch.randn(8, *field)
    target = x.roll(1, -1) + given[:, :1] + condition[:, :1].view(-1, *(1,) * (x.ndim - 1))

    def loss():
        return (network(x, LEVEL, condition, given) - target).square().mean()

    before = loss()
    before.backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name
    torch.optim.SGD(network.parameters(), 1e-2).step()
    assert loss() < before


@pytest.mark.parametrize("kind", SMALL)
def test_the_field_of_a_sample_changes_its_output_only(kind):
    shape = sample(2, 1, field=(8, 12), shared=2)
    network = SMALL[kind].build(shape)
    for parameter in network.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    x, field = torch.randn(2, *shape.shape), torch.randn(2, 8, 12)
    other = torch.stack([field[0], field[1] + 1])
    first, second = network(x, LEVEL, field=field), network(x, LEVEL, field=other)
    torch.testing.assert_close(first[0], second[0])
    assert not torch.allclose(first[1], second[1])
    with pytest.raises(ValueError, match="condition that is a field, but was given none"):
        network(x, LEVEL)


def test_weights_can_be_replaced_and_run_in_lower_precision():
    network = SMALL["fno"].build(sample(2))
    x = torch.randn(2, 8, 12)
    zeros = {name: torch.zeros_like(p) for name, p in network.named_parameters()}
    assert torch.equal(functional_call(network, zeros, (x, LEVEL)), torch.zeros_like(x))
    with torch.autocast("cpu", torch.bfloat16):
        rough = network(x, LEVEL)
    assert rough.isfinite().all()
    torch.testing.assert_close(rough.float(), network(x, LEVEL), atol=0.05, rtol=0.1)


@pytest.mark.rejects
@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: small("unet", 3).build(SampleShape((16, 8), ())), "grid of 3 dimensions, found the shape"),
        (lambda: small("dit", 2).build(SampleShape((16,), ())), "set `grid_dimensions` to 1, or use `mlp`"),
        (lambda: small("fno", 2).build(SampleShape((16,), ())), "set `grid_dimensions` to 1, or use `mlp`"),
        (lambda: SMALL["dit"].build(SampleShape((9, 8), ())), r"divisible by 2, found \(9, 8\)"),
        (lambda: DiTSpec(width=30, heads=4), r"a multiple of `heads` \(4\), found 30"),
        (
            lambda: SMALL["fno"].build(SampleShape((4, 8), (), field=(8,), shared=1)),
            "shares 1 dimensions with a sample",
        ),
        (
            lambda: MLPSpec().build(SampleShape((4, 8), (), field=(8,), shared=1)),
            r"`network`: `mlp` takes vectors as conditions, .* use `unet`, `dit` or `fno`",
        ),
        (lambda: ResNetSpec().build(SampleShape((4, 8), (), field=(8,), shared=1)), "`resnet` takes vectors"),
        (
            lambda: TiledSpec(columns=2, network=SMALL["unet"]).build(
                SampleShape((4, 8, 8), (), field=(8, 8), shared=2)
            ),
            "`tiled` takes vectors",
        ),
    ],
)
def test_samples_that_do_not_fit_are_refused(build, words):
    with pytest.raises(ValueError, match=words):
        build()


def test_a_trajectory_of_one_dimension_has_its_times_as_channels():
    """One weight per time for a grid of one dimension, and one for all times for a grid of two."""
    trajectory = SampleShape((4, 16), (False, True))
    first = [small("unet", d).build(trajectory).unet.descent[0][0] for d in (1, 2)]
    weights = [next(layer.parameters()).shape for layer in first]
    assert weights == [(8, 4, 3), (8, 1, 3, 3)]
