"""States side by side in one image."""

from dataclasses import replace

import pytest
import torch

from plumbline.networks import SampleShape
from plumbline.networks._input_convex import InputConvexGradient
from plumbline.networks.tiled import TiledSpec

FLOW = SampleShape((6, 2, 8, 12), (True, True))
UNET = {"kind": "unet", "channels": [8, 16], "blocks": [1, 1], "embedding": 16}


def test_rows_follow_in_time():
    network = TiledSpec(columns=3, network=UNET).build(FLOW)
    x = torch.randn(2, *FLOW.shape)
    rows = [torch.cat([x[:, row * 3 + column] for column in range(3)], dim=-1) for row in range(2)]
    assert torch.equal(network.image(x), torch.cat(rows, dim=-2))
    assert torch.equal(network.states(network.image(x)), x)


def test_it_is_the_inner_network_of_the_picture():
    network = TiledSpec(columns=3, network=UNET).build(FLOW)
    x, level = torch.randn(2, *FLOW.shape), torch.tensor(0.3)
    assert torch.equal(network.image(network(x, level)), network.network(network.image(x), level))
    twice = TiledSpec(columns=3, network=UNET).build(replace(FLOW, outputs=2))
    assert twice(x, level).shape == (2, 2, *FLOW.shape)


def test_the_gradient_of_a_convex_potential_stays_monotone():
    network = TiledSpec(columns=2, network={"kind": "input_convex", "filters": 4, "layers": 1}).build(FLOW)
    assert isinstance(network.network, InputConvexGradient)
    torch.manual_seed(0)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    network.network.project_weights()
    x, y = 3 * torch.randn(2, 64, *FLOW.shape)
    assert (((network(x) - network(y)) * (x - y)).flatten(1).sum(1) > 0).all()


@pytest.mark.parametrize(("shape", "columns"), [((6, 2, 8, 12), 4), ((8, 12), 2)])
def test_samples_that_fill_no_picture_are_named(shape, columns):
    with pytest.raises(ValueError, match=rf"is a multiple of {columns}, found samples of shape"):
        TiledSpec(columns=columns, network=UNET).build(SampleShape(shape, (True, True)))
