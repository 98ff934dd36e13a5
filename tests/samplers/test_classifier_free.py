"""Classifier-free guidance with denoisers that are known in closed form, with and without the condition."""

import math

import numpy as np
import pytest
import torch
import xarray as xr
from azula.denoise import Denoiser, DiracPosterior

from plumbline.constraints import LinearEquality
from plumbline.models import BuildContext
from plumbline.models.diffusion._schedules import EDMSchedule
from plumbline.models.diffusion.diffusion import DiffusionSpec
from plumbline.samplers import (
    ConditionedSpec,
    DDIMSpec,
    FinalProjectionSpec,
    GuidedSpec,
    HeunSpec,
    SamplingTask,
    draw,
)
from plumbline.samplers._azula import BareDenoiser
from plumbline.samplers.classifier_free import ClassifierFreeSpec
from plumbline.study import StudyError, load_study

MEANS = torch.tensor([[2.0, 0.0], [-1.0, 1.0], [0.0, -2.0]], dtype=torch.float64)
WEIGHTS = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
WITHIN, SPREAD = 0.3, 1.5


class Classes(Denoiser):
    """E[x | x_t] of the isotropic Gaussian that `label` names, or of the mixture of all where it is -1."""

    schedule = EDMSchedule(sigma_max=20.0)

    def forward(self, x_t, t, label):
        sigma = self.schedule(t)[1]
        total = WITHIN**2 + sigma**2
        squared = (x_t[:, None] - MEANS).square().sum(-1)
        likely = torch.softmax(WEIGHTS.log() - squared / (2 * total), dim=1)
        one = torch.nn.functional.one_hot(label.clamp(min=0), len(MEANS)).to(x_t)
        weights = torch.where(label[:, None] < 0, likely, one)
        each = MEANS + WITHIN**2 / total * (x_t[:, None] - MEANS)
        return DiracPosterior((weights[..., None] * each).sum(1))


class Correlated(Denoiser):
    """E[x | x_t] for x = c + within * noise, where c has the std `spread`: with c, or without it (NaN)."""

    schedule = EDMSchedule(sigma_max=20.0)

    def forward(self, x_t, t, c):
        sigma = self.schedule(t)[1]
        mean, var = torch.nan_to_num(c), torch.where(c.isnan(), WITHIN**2 + SPREAD**2, WITHIN**2)
        return DiracPosterior(mean + var / (var + sigma**2) * (x_t - mean))


def guided(base, scale):
    return ClassifierFreeSpec(scale=scale, base=base)


def drawn(denoiser, spec, given, null, **options):
    torch.manual_seed(3)
    known = {"conditions": given, "null_conditions": null}
    return draw(denoiser, spec, shape=(200, 2), **known, **options)


GIVEN = {"label": torch.arange(200) % 3}
NULL = {"label": torch.full((200,), -1)}


@pytest.mark.parametrize("base", [HeunSpec(steps=16), DDIMSpec(steps=16, eta=1.0)], ids=lambda s: s.kind)
def test_zero_is_the_unconditional_and_one_the_conditional_model_to_the_bit(base):
    assert torch.equal(drawn(Classes(), guided(base, 0.0), GIVEN, NULL), drawn(Classes(), base, NULL, None))
    conditional = drawn(Classes(), base, GIVEN, None)
    assert torch.equal(drawn(Classes(), guided(base, 1.0), GIVEN, NULL), conditional)
    assert not torch.equal(drawn(Classes(), guided(base, 2.0), GIVEN, NULL), conditional)


@pytest.mark.parametrize(("scale", "evaluations"), [(0.0, 1), (1.0, 1), (2.5, 2)])
def test_each_estimate_costs_two_evaluations_or_one(scale, evaluations):
    model = BareDenoiser(Classes(), GIVEN, NULL)
    task = SamplingTask({"state": torch.zeros(200, 2)})
    plain = DDIMSpec(steps=10).sample(model, task).costs.network_evaluations
    found = guided(DDIMSpec(steps=10), scale).sample(model, task).costs.network_evaluations
    assert found == evaluations * plain


@pytest.mark.parametrize("scale", [0.5, 2.0, 5.0])
def test_the_estimate_of_class_conditional_gaussians(scale):
    """The score of the guided model is that of p_t(x) (p(c | x_t))^w: a classifier that is known exactly."""
    from plumbline.samplers.classifier_free import classifier_free_mean

    torch.manual_seed(0)
    denoiser, t = Classes(), torch.tensor(0.4, dtype=torch.float64)
    x = (3 * torch.randn(200, 2, dtype=torch.float64)).requires_grad_()
    sigma = denoiser.schedule(t)[1]
    total = WITHIN**2 + sigma**2
    joint = WEIGHTS.log() - (x[:, None] - MEANS).square().sum(-1) / (2 * total)
    log_class = torch.log_softmax(joint, dim=1).gather(1, GIVEN["label"][:, None])[:, 0]
    log_density = torch.logsumexp(joint, dim=1) + scale * log_class
    score = torch.autograd.grad(log_density.sum(), x)[0]
    found = classifier_free_mean(denoiser, x.detach(), t, null=NULL, scale=scale, **GIVEN)
    torch.testing.assert_close(found, x.detach() + sigma**2 * score)


def exact_end(x, c, scale, denoiser):
    """The end of the probability-flow equation from x at the largest noise, for `Correlated`.

    With variances v and u, with and without the condition,

        dx/ds = s [ (1 - w) x / (u + s^2) + w (x - c) / (v + s^2) ],

    whose homogeneous equation is solved by h(s) = (u + s^2)^((1 - w) / 2) (v + s^2)^(w / 2).
    """
    v, u, w = WITHIN**2, WITHIN**2 + SPREAD**2, scale

    def h(s):
        return (u + s**2) ** ((1 - w) / 2) * (v + s**2) ** (w / 2)

    low, high = denoiser.schedule.sigma_min, denoiser.schedule.sigma_max
    s = np.exp(np.linspace(math.log(low), math.log(high), 200_001))
    integral = np.trapezoid(s * w / (v + s**2) / h(s), s)
    return h(low) * (x / h(high) + c * integral)


@pytest.mark.parametrize("scale", [0.5, 1.0, 3.0])
def test_samples_of_a_correlated_gaussian_end_where_the_exact_flow_ends(scale):
    denoiser, spec = Correlated(), guided(HeunSpec(steps=400), scale)
    torch.manual_seed(3)
    start = 20.0 * torch.randn(200, 2)
    c = torch.linspace(-3, 3, 200, dtype=torch.float64)[:, None].expand(200, 2)
    found = drawn(denoiser, spec, {"c": c}, {"c": torch.full_like(c, torch.nan)})
    expected = exact_end(start.double(), c, scale, denoiser)
    # The sampler's last step takes the mean at the smallest noise.
    torch.testing.assert_close(found.double(), expected, atol=0.01, rtol=0)
    # The condition is overshot above one, and the spread is smaller.
    slope = float(np.polyfit(c[:, 0], found[:, 0], 1)[0])
    assert (slope > 1.02) == (scale > 1) and (slope < 0.98) == (scale < 1)


def test_a_constraint_acts_on_the_guided_estimate():
    total = LinearEquality(torch.ones(1, 2), torch.tensor([1.0]))
    for spec in (
        guided(ConditionedSpec(constraint="total", covariance="isotropic", base=HeunSpec(steps=8)), 2.0),
        ConditionedSpec(constraint="total", covariance="isotropic", base=guided(HeunSpec(steps=8), 2.0)),
        FinalProjectionSpec(constraint="total", base=guided(HeunSpec(steps=8), 2.0)),
    ):
        assert spec.constraint_names() == ["total"]
        x = drawn(Classes(), spec, GIVEN, NULL, constraints={"total": total})
        assert (x.sum(1) - 1).abs().max() < 1e-5
    below = GuidedSpec(constraint="total", base=guided(HeunSpec(steps=8), 2.0))
    x = drawn(Classes(), below, GIVEN, NULL, constraints={"total": total})
    assert x.isfinite().all()


@pytest.mark.rejects
def test_a_denoiser_without_null_conditions_is_refused():
    with pytest.raises(ValueError, match="give `null_conditions`"):
        drawn(Classes(), guided(HeunSpec(steps=2), 2.0), GIVEN, None)
    model = DiffusionSpec(network={"kind": "mlp", "width": 8, "blocks": 1}).build(BuildContext(classes(2)))
    with pytest.raises(ValueError, match="set `condition_dropout`"):
        guided(HeunSpec(steps=2), 2.0).sample(model, SamplingTask({"state": torch.zeros(2, 1)}))


def classes(count):
    """Two classes of one-dimensional Gaussians at -1 and 1, whose std is 0.4."""
    generator = np.random.default_rng(0)
    label = generator.integers(0, 2, count)
    state = (2 * label - 1 + 0.4 * generator.standard_normal(count))[:, None]
    return xr.Dataset(
        {"state": (("sample", "feature"), state.astype(np.float32)), "label": ("sample", label)}
    )


def test_a_model_learns_both_denoisers():
    """Against the exact ones of a class and of the mixture, at one noise level."""
    torch.manual_seed(0)
    data = classes(4000)
    spec = DiffusionSpec(
        network={"kind": "mlp", "width": 64, "blocks": 2, "embedding": 16},
        condition_on=["label"], classes=2, condition_dropout=0.3,
    )  # fmt: skip
    model = spec.build(BuildContext(data.isel(sample=[0])))
    tensors = {name: torch.as_tensor(data[name].values) for name in ("state", "label")}
    model.prepare(tensors)
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    for step in range(600):
        for group in optimiser.param_groups:
            group["lr"] = 3e-3 * (1 - step / 600)
        chosen = torch.randint(4000, (256,))
        loss, _ = model.loss({name: value[chosen] for name, value in tensors.items()})
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    model.eval()
    sigma, scale = 0.7, float(model.space.scale)
    t = model.schedule.time_of(torch.tensor(sigma / scale))
    x = torch.linspace(-2, 2, 41)[:, None]
    batch = {"state": x, "label": torch.ones(41, dtype=torch.long)}
    mean = float(model.space.mean)
    z = model.space.encode(x)
    with torch.no_grad():
        given = model.space.decode(model.denoiser(z, t, **model.conditions(batch)).mean)
        free = model.space.decode(model.denoiser(z, t, **model.null_conditions(batch)).mean)
    assert abs(mean) < 0.1
    gain, total = 0.16 / (0.16 + sigma**2), 0.16 + sigma**2
    exact = {c: c + gain * (x - c) for c in (-1.0, 1.0)}
    likely = torch.sigmoid(2 * x / total)
    mixture = likely * exact[1.0] + (1 - likely) * exact[-1.0]
    # Where noisy samples of the class are: within two standard deviations of its mean.
    assert (given - exact[1.0])[x > 1 - 2 * math.sqrt(total)].abs().max() < 0.15
    assert (free - mixture).abs().max() < 0.15


STUDY = """
title: Guidance
description: Does it work?
dataset: {kind: combustion, splits: {train: 4, validation: 2, test: 2}}
constraints: {}
samples: {count: 2, parts: 1}
models:
  plain: {kind: diffusion, network: {kind: mlp}, condition_dropout: DROPOUT}
methods:
  guided: {model: plain, sampler: {kind: classifier_free, scale: 2, base: BASE}}
metrics: {distance: {kind: mmd}}
seeds: [0]
"""


@pytest.mark.parametrize(
    ("dropout", "base", "words"),
    [
        (0.1, "{kind: heun}", None),
        (0, "{kind: heun}", r"requires `ConditionDropping` \(a model that has .*provides `Denoising`"),
        (0.1, "{kind: prior}", "`classifier_free` requires a base that draws by denoising; `prior` does not"),
    ],
)
def test_a_study_needs_a_model_that_was_trained_without_its_condition_too(tmp_path, dropout, base, words):
    path = tmp_path / "guided.yaml"
    path.write_text(STUDY.replace("DROPOUT", str(dropout)).replace("BASE", base))
    if words is None:
        assert load_study(path, "smoke").methods["guided"].sampler.tradeoff_parameter() == "scale"
    else:
        with pytest.raises(StudyError, match=words):
            load_study(path, "smoke")
