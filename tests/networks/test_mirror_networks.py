"""The input-convex potential, its gradient, and the residual generator."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from plumbline.networks import SampleShape
from plumbline.networks.input_convex import InputConvexSpec
from plumbline.networks.resnet import ResNetSpec

PERIODIC = SampleShape((2, 8, 12), (True, True))
ONE_AXIS = SampleShape((8, 12), (False, True))
LEVEL = torch.tensor(0.0)


def random_weights(network, scale=0.3):
    """Random weights of order one, as after a training, clipped at zero where they must not be negative."""
    torch.manual_seed(1)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=scale)
    network.project_weights()
    return network.double()


@pytest.mark.parametrize("sample", [PERIODIC, ONE_AXIS], ids=str)
@pytest.mark.parametrize(
    "options", [{}, {"padding": "circular", "potential": "published"}, {"layers": 0}], ids=str
)
def test_the_potential_is_convex_and_its_gradient_monotone(sample, options):
    network = random_weights(InputConvexSpec(filters=6, **{"layers": 2, **options}).build(sample))
    x, y = 3 * torch.randn(2, 64, *sample.shape, dtype=torch.float64)
    fraction = torch.rand(64, *(1,) * len(sample.shape), dtype=torch.float64)
    between = network.potential(fraction * x + (1 - fraction) * y)
    chord = fraction.flatten() * network.potential(x) + (1 - fraction.flatten()) * network.potential(y)
    assert (between <= chord + 1e-9 * chord.abs()).all()
    growth = ((network(x) - network(y)) * (x - y)).flatten(1).sum(1)
    assert (growth >= 0).all()
    assert growth.mean() > 0


def test_without_the_cut_it_is_not_convex():
    network = random_weights(InputConvexSpec(filters=6, layers=2).build(PERIODIC))
    network.last.weight.data.neg_()
    x, y = torch.randn(2, 64, *PERIODIC.shape, dtype=torch.float64)
    assert (((network(x) - network(y)) * (x - y)).flatten(1).sum(1) < 0).any()


def test_it_is_the_gradient_of_the_potential():
    network = random_weights(InputConvexSpec(filters=4, layers=1).build(ONE_AXIS))
    x = torch.randn(3, *ONE_AXIS.shape, dtype=torch.float64)
    direction = torch.randn_like(x)
    step = 1e-6
    slope = (network.potential(x + step * direction) - network.potential(x - step * direction)) / (2 * step)
    torch.testing.assert_close((network(x) * direction).flatten(1).sum(1), slope, rtol=1e-6, atol=1e-6)


def test_the_gradient_can_be_trained_and_is_recorded_only_where_asked():
    network = random_weights(InputConvexSpec(filters=4, layers=1).build(PERIODIC))
    x = torch.randn(2, *PERIODIC.shape, dtype=torch.float64)
    with torch.no_grad():
        assert not network(x).requires_grad
    assert torch.autograd.gradcheck(network, x.requires_grad_())
    network(x.detach()).square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())


def awake(network, scale=0.1):
    """Perturbs the weights of a network whose output is initially zero, and returns it."""
    for parameter in network.parameters():
        parameter.data += scale * torch.randn_like(parameter)
    return network


@pytest.mark.parametrize(("kind", "step"), [("input_convex", 1), ("resnet", 4)])
def test_periodic_axes_have_no_first_point(kind, step):
    """A shift of the input by the network's stride shifts the output."""
    torch.manual_seed(0)
    spec = (
        InputConvexSpec(filters=4)
        if kind == "input_convex"
        else ResNetSpec(channels=4, blocks=1, embedding=8)
    )
    network = awake(spec.build(ONE_AXIS)).double()
    x = torch.randn(2, *ONE_AXIS.shape, dtype=torch.float64)
    shifted = network(x.roll(step, -1), LEVEL.double())
    torch.testing.assert_close(shifted, network(x, LEVEL.double()).roll(step, -1))
    other = network(x.roll(step, -2), LEVEL.double())
    assert not torch.allclose(other, network(x, LEVEL.double()).roll(step, -2))


def test_the_generator_knows_the_noise_level_and_the_amplitude_unless_published():
    torch.manual_seed(0)
    x = torch.randn(3, *PERIODIC.shape)
    ours = awake(ResNetSpec(channels=4, blocks=2, embedding=8).build(PERIODIC))
    assert not torch.allclose(ours(x, torch.tensor(-3.0)), ours(x, torch.tensor(0.0)))
    published = ResNetSpec(channels=4, blocks=2, embedding=0, norm="instance", padding="zeros")
    published = awake(published.build(PERIODIC))
    # Instance norm removes the amplitude of every feature up to its epsilon: the body does not see it.
    x = 100 * x
    torch.testing.assert_close(published(1.1 * x), published(x), rtol=1e-3, atol=1e-4)
    assert not torch.allclose(ours(1.1 * x, LEVEL), ours(x, LEVEL), rtol=1e-2)


def test_the_generator_starts_without_an_output_and_with_features_of_order_one():
    torch.manual_seed(0)
    network = ResNetSpec(channels=16, blocks=6, embedding=8).build(PERIODIC)
    x = torch.randn(32, *PERIODIC.shape)
    assert torch.equal(network(x, LEVEL), torch.zeros_like(x))
    features = network.up(network.down(x))
    assert 0.3 < float(features.std()) < 3


def test_the_published_generator_has_affine_norms_and_small_normal_weights():
    """Standard deviations of 4,608 weights or more and of 208 scales, within five standard errors."""
    torch.manual_seed(0)
    spec = ResNetSpec(channels=16, blocks=2, embedding=0, norm="affine_instance", initialisation="normal")
    network = spec.build(PERIODIC)
    convolutions = [m for m in network.modules() if isinstance(m, torch.nn.Conv2d)]
    norms = [m for m in network.modules() if isinstance(m, torch.nn.InstanceNorm2d)]
    for weight in (m.weight for m in convolutions if m.weight.numel() > 4000):
        assert abs(float(weight.std()) / 0.02 - 1) < 5 / (2 * weight.numel()) ** 0.5
    scales = torch.cat([m.weight for m in norms]).detach()
    assert abs(float(scales.mean()) - 1) < 5 * 0.02 / len(scales) ** 0.5
    assert 0.01 < float(scales.std()) < 0.03
    assert not any(bool(m.bias.any()) for m in [*convolutions, *norms])


def test_a_grid_that_cannot_be_halved_is_named():
    with pytest.raises(ValueError, match=r"divisible by 4, found \(6, 8\)"):
        ResNetSpec().build(SampleShape((1, 6, 8), (False, False)))
    with pytest.raises(ValueError, match="needs samples on a grid"):
        InputConvexSpec().build(SampleShape((12,), ()))


def test_operations_of_the_published_networks():
    """For an image of 64 x 64 the authors' f costs 3.98 GFLOP, and their g, a gradient, 0.50.

    Their count omits products with padding zeros, 8% of a 3 x 3 convolution of 16 x 16 values.
    """
    image = SampleShape((64, 64), (True, True))
    inverse = ResNetSpec(
        norm="instance", padding="zeros", doubling="transposed", dropout=0.5, embedding=0
    ).build(image)
    forward = InputConvexSpec(padding="circular", potential="published").build(image)
    for network, expected, padded in ((inverse, 3.98e9, 0.08), (forward, 0.50e9, 0.01)):
        with FlopCounterMode(display=False) as counter:
            network(torch.rand(1, 64, 64), LEVEL)
        assert counter.get_total_flops() == pytest.approx(expected, rel=padded)
    # Theirs also have a scale and a shift in each normalisation, 7,424 parameters.
    assert sum(p.numel() for p in inverse.parameters()) == 7_832_577 - 7_424
    assert sum(p.numel() for p in forward.parameters()) == 30_368
