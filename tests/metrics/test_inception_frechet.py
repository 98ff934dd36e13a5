"""FID with a network from a file: here a network with known features in place of Inception."""

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

from plumbline.metrics import EvaluationContext
from plumbline.metrics.frechet import frechet_distance
from plumbline.metrics.inception_frechet import InceptionFrechetSpec


class Corners(nn.Module):
    """Returns the four corners of the first colour (0 to 255); it is called like the Inception export."""

    def forward(self, images: torch.Tensor, return_features: bool = False) -> torch.Tensor:
        assert return_features
        assert images.dtype == torch.uint8
        assert images.shape[1] == 3
        corners = images[:, 0, ::7, ::7]
        return corners.flatten(1).float()


@pytest.fixture
def network(tmp_path):
    torch.jit.script(Corners()).save(str(tmp_path / "network.pt"))
    return tmp_path / "network.pt"


def images(seed, shape=(100, 8, 8)):
    states = np.random.default_rng(seed).random(shape, dtype=np.float32)
    dims = ("sample", *"abc"[: len(shape) - 1])
    return xr.Dataset({"state": (dims, states)}, coords={"split": ("sample", ["test"] * shape[0])})


@pytest.mark.parametrize("shape", [(100, 8, 8), (100, 1, 8, 8), (100, 3, 8, 8)])
def test_it_is_the_frechet_distance_of_the_networks_features(network, shape):
    samples, data = images(0, shape), images(1, shape)
    found = InceptionFrechetSpec(weights=str(network)).evaluate(samples, data, EvaluationContext())

    def features(states):
        first = states if states.ndim == 3 else states[:, 0]
        return np.round(255 * first[:, ::7, ::7]).reshape(len(first), 4).astype(float)

    expected = frechet_distance(features(samples["state"].values), features(data["state"].values))
    assert float(found["fid"]) == pytest.approx(expected, rel=1e-6)


def test_a_missing_file_and_what_is_no_image_are_named(network):
    with pytest.raises(FileNotFoundError, match=r"`weights`: there is no file nowhere\.pt"):
        InceptionFrechetSpec(weights="nowhere.pt").evaluate(images(0), images(1), EvaluationContext())
    data = images(0, (100, 2, 8, 8))
    with pytest.raises(ValueError, match=r"samples have the shape \(2, 8, 8\)"):
        InceptionFrechetSpec(weights=str(network)).evaluate(data, data, EvaluationContext())
