"""Preparation of models from blocks of their data: equal to that from all of it."""

import copy
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from plumbline.constraints.sum import SumSpec
from plumbline.datasets.random_frameworks import RandomFrameworksSpec
from plumbline.models import BuildContext, PreparingInBlocks
from plumbline.models._data_covariance import DataCovariance
from plumbline.models._moments import RunningMoments
from plumbline.models._preparing import first_samples, samples_at
from plumbline.models._running_regression import RunningRegression
from plumbline.models._spaces import Standardisation, batch_of
from plumbline.models.distributional._dual_diffusion import DualDiffusion
from plumbline.models.fitted._fitted_gaussian import FittedGaussian
from plumbline.models.predictive.element_means import ElementMeansSpec
from plumbline.plan import Plan
from plumbline.stages.trained import NotInBlocksError, build_model, in_blocks
from plumbline.study import load_study

STUDIES = Path(__file__).parents[2] / "config" / "studies"
IN_BLOCKS = {
    "gaussian": {"fitted_gaussian"},
    "combustion": {"diffusion", "fitted_gaussian"},
    "constrained_diffusion": {"constrained_diffusion", "null_space_diffusion"},
    "mirror_divergence": {"diffusion", "mirror_map", "restorer", "restored"},
    "latent_digits": {
        "conditional_vae", "vae", "latent_critics", "latent_actor", "class_gaussian", "aggregate_posterior",
    },
    "latent_attributes": {"vae", "latent_critics", "latent_actor", "attribute_gaussian"},
    "fair_digits": {"classifier", "dual_diffusion"},
    "mirror_periodic": {"diffusion", "mirror_map"},
    "darcy": {"diffusion", "regression"},
    "exact_conditionals/gaussian_mixture": {"diffusion", "exact_mixture"},
}  # fmt: skip
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
            with pytest.raises(NotInBlocksError, match=r"raise `memory`"):
                in_blocks(built)
            continue
        found.add(spec.kind)
        one, other = built, copy.deepcopy(built)
        torch.manual_seed(1)
        one.prepare(dict(data))
        torch.manual_seed(1)
        other.prepare_in_blocks(split(data, [1, 2, 19, 23, 50]))
        for (key, a), (_, b) in zip(_fitted(one).items(), _fitted(other).items(), strict=True):
            if key.endswith("data_covariance.directions"):
                continue  # eigenvectors of equal eigenvalues are not unique
            assert torch.allclose(a.double(), b.double(), rtol=1e-5, atol=1e-6), (model, key)
        for a, b in zip(covariances(one), covariances(other), strict=True):
            x = torch.randn(3, a.dimension, dtype=torch.float64)
            assert torch.allclose(a.matmul(x), b.matmul(x), rtol=1e-4, atol=1e-5), model
    assert found >= IN_BLOCKS[name]
    assert not found & {"finetuned_mirror", "graph_filter"}


def _fitted(model):
    """What a model has fitted; of an eigendecomposition the matrix, as the signs of its vectors are free."""
    found = dict(model.state_dict())
    if isinstance(model, FittedGaussian):
        vectors = found.pop("denoiser.directions").double()
        found["covariance"] = vectors @ torch.diag(found.pop("denoiser.variances").double()) @ vectors.T
    if isinstance(model, DualDiffusion):
        found |= {f"{name}/{key}": x for name, of in model.sets.items() for key, x in of.items()}
    return found


def test_element_means_prepared_in_blocks_are_those_prepared_at_once():
    """Also where a block, or all of them, lack an element."""
    spec = RandomFrameworksSpec(splits={"train": 40, "validation": 2, "test": 2}, parts=1)
    drawn = spec.draw_split("train")
    data = batch_of(drawn)
    example = drawn.isel(sample=slice(0, 1))
    of = ElementMeansSpec(likelihood={"kind": "independent"}, constraint="total")
    one, other = (of.build(BuildContext(example, {"total": SumSpec(total=0.0).build(example)})) for _ in "ab")
    one.prepare(dict(data))
    other.prepare_in_blocks(split(data, [1, 2, 19, 23]))
    torch.testing.assert_close(one.mean, other.mean, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(one.variance, other.variance, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_a_running_regression_is_that_of_all_samples(offset):
    """Also for inputs that depend on each other, with the solution of least norm."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(301, 3, generator=generator, dtype=torch.float64)
    x = torch.cat([x, x[:, :1] - x[:, 1:2], torch.ones(301, 1, dtype=torch.float64)], dim=1)
    y = offset + x @ torch.randn(5, 4, generator=generator, dtype=torch.float64)
    y = y + torch.randn(301, 4, generator=generator, dtype=torch.float64)
    design = torch.cat([torch.ones(301, 1, dtype=torch.float64), x], dim=1)
    expected = torch.linalg.pinv(design, rtol=1e-6) @ y
    residual = y - design @ expected
    regression = RunningRegression()
    for a, b in zip(x.split([1, 100, 0, 200]), y.split([1, 100, 0, 200]), strict=True):
        regression.add(a, b)
    found, squares = regression.solution()
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10 * max(1.0, offset))
    torch.testing.assert_close(squares, residual.T @ residual, rtol=1e-9, atol=1e-9)


def test_samples_at_reads_only_the_blocks_that_contain_them():
    class Block(dict):
        def __getitem__(self, name):
            if name == "heavy":
                read.append(int(super().__getitem__("state")[0]))
            return super().__getitem__(name)

    read = []
    blocks = [Block(state=torch.arange(a, a + 4), heavy=10 * torch.arange(a, a + 4)) for a in range(0, 20, 4)]
    found = samples_at(blocks, torch.tensor([18, 1, 9, 1, 10]))
    assert found["heavy"].tolist() == [180, 10, 90, 10, 100]
    assert read == [0, 8, 16]


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
