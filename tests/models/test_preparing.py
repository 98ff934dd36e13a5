"""Preparation of models from blocks of their data: equal to that from all of it."""

import copy
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from plumbline.models import PreparingInBlocks
from plumbline.models._data_covariance import DataCovariance
from plumbline.models._moments import RunningMoments
from plumbline.models._preparing import first_samples
from plumbline.models._spaces import Standardisation, batch_of
from plumbline.plan import Plan
from plumbline.stages.trained import NotInBlocksError, build_model, in_blocks
from plumbline.study import load_study

STUDIES = Path(__file__).parents[2] / "config" / "studies"
IN_BLOCKS = {
    "gaussian": set(),
    "combustion": {"diffusion"},
    "constrained_diffusion": {"constrained_diffusion", "null_space_diffusion"},
    "mirror_divergence": {"diffusion", "mirror_map", "restorer", "restored"},
    "latent_digits": {"conditional_vae", "vae", "latent_critics", "latent_actor"},
    "latent_attributes": {"vae", "latent_critics", "latent_actor"},
    "fair_digits": {"classifier"},
    "darcy": {"diffusion", "regression"},
}
"""Studies whose data needs no download, and kinds of their models that are prepared in blocks."""
SAMPLES = 60


def split(data, cuts):
    bounds = [0, *cuts, len(data["state"])]
    return [{name: x[a:b] for name, x in data.items()} for a, b in pairwise(bounds) if b > a]


@pytest.mark.parametrize("name", IN_BLOCKS)
def test_models_prepared_in_blocks_are_those_prepared_at_once(name, data_of_study):
    data_of_study(name)
    study = load_study(STUDIES / f"{name}.yaml", "smoke")
    splits = np.repeat("train", SAMPLES)
    drawn = study.dataset.draw(np.arange(SAMPLES), splits)
    data = batch_of(drawn)
    found = set()
    for model, spec in study.models.items():
        values = json.loads(Plan(study).train_slice(model))
        torch.manual_seed(0)
        built = build_model(values, drawn.isel(sample=slice(0, 1)), {})
        if not isinstance(built, PreparingInBlocks):
            with pytest.raises(NotInBlocksError, match=r"raise `training\.memory`"):
                in_blocks(built)
            continue
        found.add(spec.kind)
        one, other = built, copy.deepcopy(built)
        torch.manual_seed(1)
        one.prepare(dict(data))
        torch.manual_seed(1)
        other.prepare_in_blocks(split(data, [1, 2, 19, 23, 50]))
        for (key, a), (_, b) in zip(one.state_dict().items(), other.state_dict().items(), strict=True):
            if key.endswith("data_covariance.directions"):
                continue  # eigenvectors of equal eigenvalues are not unique
            assert torch.allclose(a.double(), b.double(), rtol=1e-5, atol=1e-6), (model, key)
        for a, b in zip(covariances(one), covariances(other), strict=True):
            x = torch.randn(3, a.dimension, dtype=torch.float64)
            assert torch.allclose(a.matmul(x), b.matmul(x), rtol=1e-4, atol=1e-5), model
    assert found >= IN_BLOCKS[name]


def covariances(model):
    return [module.get() for module in model.modules() if isinstance(module, DataCovariance)]


@pytest.mark.parametrize("offset", [0.0, 1e8])
def test_running_moments_are_those_of_all_values(offset):
    """Equal to two passes in double precision, also where the mean is 1e8 standard deviations."""
    x = offset + torch.randn(1001, 3, 2, dtype=torch.float64)
    moments = RunningMoments()
    for block in x.split([1, 0, 500, 300, 200]):
        moments.add(block)
    std, mean = torch.std_mean(x, dim=0)
    torch.testing.assert_close(moments.mean, mean, rtol=1e-14, atol=1e-14)
    torch.testing.assert_close(moments.std, std, rtol=1e-7 if offset else 1e-13, atol=0)
    torch.testing.assert_close(moments.size, x.abs().amax(0), rtol=0, atol=0)


def test_one_pass_of_sums_of_squares_would_not_pass_this_test():
    x = 1e8 + torch.randn(1001, dtype=torch.float64)
    naive = (x.square().mean() - x.mean() ** 2).abs().sqrt()
    assert abs(float(naive / x.std()) - 1) > 1e-3


@pytest.mark.parametrize("scaling", ["per_feature", "global", "max_abs"])
def test_a_standardisation_of_large_data_is_that_of_double_precision(scaling, monkeypatch):
    """Also where the values do not fill whole blocks."""
    monkeypatch.setattr("plumbline.models._moments.BLOCK", 1000)
    x = 5 + torch.randn(501, 3, 7)
    axes = (0, 1, 2) if scaling == "global" else (0,)
    std, mean = torch.std_mean(x.double(), dim=axes)
    space = Standardisation((3, 7), scaling)
    space.fit(x)
    if scaling == "max_abs":
        std, mean = x.double().abs().amax(0), torch.zeros(3, 7)
    torch.testing.assert_close(space.scale.double().view_as(std), std, rtol=1e-7, atol=0)
    torch.testing.assert_close(space.mean.double().view_as(mean), mean.double(), rtol=1e-7, atol=0)


def test_first_samples_read_no_further_block():
    def blocks():
        yield {"state": torch.arange(3)}
        yield {"state": torch.arange(3, 6)}
        raise AssertionError("a third block was read")

    assert torch.equal(first_samples(blocks(), 5)["state"], torch.arange(5))
