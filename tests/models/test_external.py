"""Pretrained networks as models: conversions of predictions, checks of what functions return, studies."""

import numpy as np
import pytest
import torch
from azula.denoise import GaussianDenoiser
from azula.linalg.covariance import IsotropicCovariance
from azula.noise import CosineSchedule, RectifiedSchedule, VPSchedule
from torch import nn

import plumbline
from plumbline.datasets.gaussian import GaussianSpec
from plumbline.models import BuildContext, Denoising
from plumbline.models.diffusion._external import ExternalDenoiserError, PredictionDenoiser
from plumbline.models.diffusion.external import ExternalSpec
from plumbline.user_code import UserCodeError

SCHEDULES = [VPSchedule(), CosineSchedule(), RectifiedSchedule()]
MEAN, VARIANCE = 0.3, 2.0


class Exact(nn.Module):
    """The exact prediction for x ~ N(m, v I), by the formulas of the Gaussian (x, e) given x_t."""

    def __init__(self, schedule, predicts):
        super().__init__()
        self.schedule, self.predicts = schedule, predicts

    def forward(self, x_t, t):
        alpha, sigma = (value.reshape(-1, 1) for value in self.schedule(t))
        total = alpha**2 * VARIANCE + sigma**2
        sample = MEAN + alpha * VARIANCE / total * (x_t - alpha * MEAN)
        noise = sigma / total * (x_t - alpha * MEAN)
        step = 1e-6
        later, earlier = self.schedule(t + step), self.schedule(t - step)
        slopes = [(a - b).reshape(-1, 1) / (2 * step) for a, b in zip(later, earlier, strict=True)]
        velocity = slopes[0] * sample + slopes[1] * noise
        return {"sample": sample, "noise": noise, "velocity": velocity, "score": -noise / sigma}[
            self.predicts
        ]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("predicts", ["sample", "noise", "velocity", "score"])
def test_every_prediction_gives_the_posterior_mean(schedule, predicts):
    """The velocity's slopes are central differences of step 1e-6, which leave 1e-8."""
    t = torch.tensor([0.1, 0.35, 0.6, 0.9], dtype=torch.float64)
    x_t = torch.randn(4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = PredictionDenoiser(Exact(schedule, predicts), schedule, predicts=predicts)(x_t, t).mean
    truth = Exact(schedule, "sample")(x_t, t)
    torch.testing.assert_close(found, truth, rtol=0, atol=1e-7 if predicts == "velocity" else 1e-12)


CODE = """
import torch
from azula.denoise import GaussianDenoiser
from azula.linalg.covariance import IsotropicCovariance
from azula.noise import VPSchedule
from torch import nn


def gaussian():
    return GaussianDenoiser(torch.zeros(8), IsotropicCovariance(torch.tensor(4.0)), VPSchedule())


class Linear(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def forward(self, x_t, t):
        return self.layer(x_t)


def network(checkpoint):
    built = Linear()
    built.load_state_dict(torch.load(checkpoint))
    return built


def nothing():
    return 3
"""
STUDY = """
extends: gaussian
title: A model of another code
description: A denoiser that was not trained here.
models:
  gaussian: null
  theirs: {kind: external, function: own.py:gaussian}
methods:
  conditioned: {model: theirs}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(CODE)
    return tmp_path


@pytest.fixture
def example():
    return GaussianSpec(parts=1, splits={"train": 40, "validation": 2, "test": 2}).draw_part(0)


def test_a_checkpoint_is_loaded_and_noticed(folder, example):
    torch.save(nn.ModuleDict({"layer": nn.Linear(8, 8)}).state_dict(), folder / "weights.pt")
    spec = ExternalSpec(
        function="own.py:network",
        checkpoint="weights.pt",
        predicts="noise",
        schedule={"kind": "vp"},
        scaling="global",
    )
    model = spec.build(BuildContext(example))
    assert isinstance(model, Denoising)
    model.prepare({"state": torch.as_tensor(example["state"].values)})
    assert model.denoiser(torch.zeros(2, 8), torch.tensor(0.5)).mean.shape == (2, 8)
    assert [(file.key, file.path) for file in spec.input_files()] == [("checkpoint", "weights.pt")]


def test_a_flow_matching_network_is_sampled_on_its_schedule(folder, example):
    """The exact velocity of N(m, v I) on the rectified schedule gives the moments of its samples."""
    from plumbline.samplers import HeunSpec, SamplingTask

    (folder / "flow.py").write_text(
        "from tests.models.test_external import Exact\nfrom azula.noise import RectifiedSchedule\n\n\n"
        "def flow():\n    return Exact(RectifiedSchedule(), 'velocity').double()\n"
    )
    spec = ExternalSpec(function="flow.py:flow", predicts="velocity", schedule={"kind": "rectified"})
    model = spec.build(BuildContext(example)).double()
    torch.manual_seed(0)
    task = SamplingTask({"state": torch.zeros(5000, 8, dtype=torch.float64)})
    x = HeunSpec(steps=128).sample(model, task).state
    # 40,000 values: 5 standard errors, and 2% for the steps. With 16 steps the variance is 60% too large.
    assert abs(float(x.mean()) - MEAN) < 5 * (VARIANCE / 40_000) ** 0.5 + 0.02
    assert abs(float(x.var()) / VARIANCE - 1) < 5 * (2 / 40_000) ** 0.5 + 0.02


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        (
            {"function": "own.py:nothing"},
            ExternalDenoiserError,
            "returned a int, expected an azula `Denoiser`",
        ),
        ({"function": "own.py:gaussian", "predicts": "noise"}, ExternalDenoiserError, "expected a network"),
        ({"function": "own.py:none"}, ValueError, "does not define 'none' at its top level"),
    ],
)
def test_what_a_function_returns_is_checked(folder, example, values, error, message):
    with pytest.raises(error, match=message):
        ExternalSpec(**values).build(BuildContext(example))


def test_a_study_draws_from_it_under_a_constraint(folder):
    """`conditioned` draws from the denoiser of another code; the parent's other methods are removed."""
    from plumbline.study import load_study
    from plumbline.workflow_files import library_studies

    gone = [
        name
        for name in load_study(library_studies() / "gaussian.yaml", "smoke").methods
        if name != "conditioned"
    ]
    (folder / "own.yaml").write_text(STUDY + "".join(f"  {name}: null\n" for name in gone))
    results = plumbline.run("own.yaml", scale="smoke", results=folder / "results")
    assert float(results.comparison["distance_equalities"].sel(methods="conditioned").max()) < 1e-6
    assert np.isfinite(results.draw("conditioned", 3)["state"].values).all()
    (folder / "own.py").write_text(CODE.replace("4.0", "5.0"))
    with pytest.raises((UserCodeError, ValueError), match=r"own\.py, or a module .* has changed"):
        results.model("theirs")


def test_the_gaussian_of_azula_is_conditioned_exactly():
    """20,000 samples of N(0, I) given a total: each mean is within 5 standard errors of k / n."""
    from plumbline.constraints import LinearEquality
    from plumbline.samplers import ConditionedSpec, HeunSpec, draw

    torch.manual_seed(0)
    denoiser = GaussianDenoiser(torch.zeros(4), IsotropicCovariance(torch.tensor(1.0)), VPSchedule())
    total = LinearEquality(torch.ones(1, 4), torch.tensor([2.0]))
    sampler = ConditionedSpec(constraint="total", base=HeunSpec(steps=16))
    x = draw(denoiser, sampler, shape=(20_000, 4), constraints={"total": total}, covariance=torch.eye(4))
    assert float((x.mean(0) - 0.5).abs().max()) < 5 * (0.75 / 20_000) ** 0.5 + 0.01
    assert float((x.sum(1) - 2).abs().max()) < 1e-5
    with pytest.raises(ValueError, match="the sampler uses total, and `constraints` has none"):
        draw(denoiser, sampler, shape=(2, 4))


def test_samplers_of_azula_take_a_conditioned_denoiser():
    from azula.sample import DDIMSampler

    from plumbline.constraints import LinearEquality
    from plumbline.samplers import ConditionedDenoiser

    torch.manual_seed(0)
    free = GaussianDenoiser(torch.zeros(4), IsotropicCovariance(torch.tensor(1.0)), VPSchedule())
    total = LinearEquality(torch.ones(1, 4), torch.tensor([2.0]))
    sampler = DDIMSampler(ConditionedDenoiser(free, total, shape=(4,)), steps=64)
    x = sampler(sampler.init((500, 4)))
    assert float((x.sum(1) - 2).abs().max()) < 0.02 and float(x.std(0).min()) > 0.7
