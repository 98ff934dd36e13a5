"""The distance to the model's own conditional distribution, with a model whose denoiser is exact."""

import logging

import numpy as np
import pytest
import torch

from plumbline.constraints import LinearEquality, Sphere
from plumbline.datasets import GaussianSpec
from plumbline.metrics import EvaluationContext, ModelConditionalSpec
from plumbline.models import BuildContext
from plumbline.models._spaces import batch_of
from plumbline.models.fitted.fitted_gaussian import FittedGaussianSpec
from plumbline.storage.store import select_split

COUNT = 1000


@pytest.fixture(scope="module")
def problem():
    splits = {"train": 20_000, "validation": 2, "test": COUNT}
    data = GaussianSpec(dimension=4, equalities=1, parts=1, splits=splits).draw_part(0)
    model = FittedGaussianSpec().build(BuildContext(data))
    model.prepare(batch_of(select_split(data, "train")))
    equality = LinearEquality(torch.as_tensor(data["matrix"].values), torch.as_tensor(data["target"].values))
    return data, EvaluationContext({"c": equality, "sphere": Sphere(1.0)}, {"gaussian": model})


def judged(problem, samples, reference, **values):
    data, context = problem
    keys = {"model": "gaussian", "constraint": "c", "reference": reference} | values
    spec = ModelConditionalSpec.model_validate(keys)
    found = spec.evaluate(samples, data, context)
    return {name: float(value) for name, value in found.items()}


def moved(samples, change):
    state = samples["state"]
    return samples.assign(state=state.copy(data=change(state.values).astype(np.float32)))


@pytest.mark.parametrize(
    ("reference", "name", "near", "far"),
    [
        ("moments", "model_conditional_gaussian", 0.1, 0.3),
        ("rejection", "model_conditional_energy", 0.01, 0.03),
    ],
)
def test_exact_draws_are_near_and_others_far(problem, reference, name, near, far):
    """Samples of the exact distribution against the same shifted by half a standard deviation."""
    exact = select_split(problem[0], "test")
    assert judged(problem, exact, reference, draws=40_000)[name] < near
    shifted = moved(exact, lambda x: x + 0.5 * x.std(0))
    assert judged(problem, shifted, reference, draws=40_000)[name] > far


@pytest.mark.parametrize("reference", ["moments", "rejection"])
@pytest.mark.parametrize(("factor", "word"), [(0.2, "collapsed"), (4.0, "exploded")])
def test_collapse_and_explosion_are_warned_of(problem, reference, factor, word, caplog):
    exact = select_split(problem[0], "test")
    changed = moved(exact, lambda x: x.mean(0) + factor * (x - x.mean(0)))
    with caplog.at_level(logging.WARNING, logger="plumbline.evaluate"):
        found = judged(problem, changed, reference, draws=2000)
    assert found["model_spread_ratio"] == pytest.approx(factor, rel=0.3)
    assert f"the method has {word}" in caplog.text


def test_what_has_no_moments_is_refused(problem):
    exact = select_split(problem[0], "test")
    with pytest.raises(
        ValueError, match="requires a linear equality, and 'sphere' is none: set `reference: rej"
    ):
        judged(problem, exact, "moments", draws=1000, constraint="sphere")
    with pytest.raises(ValueError, match="'nothing' is not one of c, sphere"):
        judged(problem, exact, "moments", draws=1000, constraint="nothing")


def test_targets_of_each_sample_are_refused(problem):
    data, context = problem
    targets = torch.randn(COUNT, 1, dtype=torch.float64)
    bound = EvaluationContext(
        {"c": LinearEquality(torch.as_tensor(data["matrix"].values), targets)}, context.models
    )
    with pytest.raises(ValueError, match="has targets that differ between samples"):
        judged((data, bound), select_split(data, "test"), "moments", draws=1000)
