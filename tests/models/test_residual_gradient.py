"""Networks that are conditioned on the gradient of a residual: values, dropping, and what is refused."""

import copy

import numpy as np
import pytest
import torch
import xarray as xr
from pydantic import ValidationError
from tests.device.fake_gpu import DEVICE, fake_gpu
from torch import nn

from plumbline.constraints import Equations, LinearEquality
from plumbline.export import ExportError, export_denoiser
from plumbline.models import BuildContext
from plumbline.models._spaces import Standardisation, batch_of
from plumbline.models.diffusion._residual_gradient import GradientBackbone, shown_gradient
from plumbline.models.diffusion.diffusion import DiffusionSpec
from plumbline.networks import SampleShape
from plumbline.samplers import ClassifierFreeSpec, GuidedSpec, HeunSpec, SamplingTask
from plumbline.study import StudyError, load_study

UNET = {"kind": "unet", "channels": [8, 16], "blocks": [1, 1], "embedding": 8}
NETWORKS = {
    "unet": UNET,
    "dit": {"kind": "dit", "patch": 2, "width": 16, "blocks": 1, "heads": 2, "embedding": 8},
    "fno": {"kind": "fno", "width": 8, "modes": 3, "blocks": 1, "embedding": 8},
}
TOTALS = Equations(lambda x: x.flatten(1)[:, ::2].sum(1) - 1)


def fields(*leading: int, condition: bool) -> xr.Dataset:
    """Twelve states on a grid of 8 x 4 points, with further axes before it, and a field as a condition."""
    rng = np.random.default_rng(0)
    dims = [f"axis_{i}" for i in range(len(leading))]
    variables = {"state": (("sample", *dims, "x", "y"), 3 + 2 * rng.standard_normal((12, *leading, 8, 4)))}
    if condition:
        variables["condition"] = (("sample", "channel", "x", "y"), rng.standard_normal((12, 3, 8, 4)))
    return xr.Dataset(variables)


def built(data, network="unet", constraint=TOTALS, **keys):
    torch.manual_seed(0)
    spec = DiffusionSpec(network=NETWORKS[network], residual_gradient="c", **keys)
    model = spec.build(BuildContext(data.isel(sample=[0]), constraints={"c": constraint}))
    model.prepare(batch_of(data))
    with torch.no_grad():  # azula starts the last layers at zero, which would hide what a network takes
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


class Shown(nn.Module):
    """A backbone that returns its field."""

    def forward(self, x, level, field, condition=None):
        return field


def test_the_gradient_of_a_linear_residual():
    """sign(A x - k) A / m in the data's units, times the scale, divided by its root mean square."""
    matrix, target = torch.randn(3, 8).double(), torch.randn(3).double()
    space = Standardisation((2, 4), "global")
    space.mean.fill_(5.0)
    space.scale.fill_(2.0)
    backbone = GradientBackbone(Shown(), space, LinearEquality(matrix, target), shared=2)
    x = torch.randn(6, 2, 4, dtype=torch.float64)
    signs = ((5 + 2 * x.flatten(1)) @ matrix.mT - target).sign()
    gradient = signs @ matrix
    wanted = gradient / gradient.square().mean(1, keepdim=True).sqrt()
    kept = torch.tensor([1.0, 0.0, 1.0, 1.0, 0.0, 1.0])
    found = backbone(x, torch.zeros(()), gradient=kept)
    torch.testing.assert_close(found, (wanted * kept[:, None]).view(6, 1, 2, 4), rtol=1e-6, atol=1e-6)


def test_no_gradient_is_zero():
    satisfied = Equations(lambda x: (x - 1e9).clamp(min=0).flatten(1))
    backbone = GradientBackbone(Shown(), Standardisation((4,), "none"), satisfied, shared=1)
    assert not backbone(torch.randn(3, 4), torch.zeros(()), gradient=torch.ones(3)).any()


@pytest.mark.parametrize(
    ("sample", "field"),
    [
        (SampleShape((2, 8, 4), (False,) * 3), (1, 2, 8, 4)),
        (SampleShape((8, 4), (False,) * 2, field=(3, 8, 4), shared=2), (4, 8, 4)),
        (SampleShape((2, 5, 8, 4), (False,) * 4, field=(8, 4), shared=2), (11, 8, 4)),
    ],
)
def test_channels_of_the_field(sample, field):
    assert shown_gradient(sample).field == field


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("condition", [False, True])
@pytest.mark.parametrize("leading", [(), (2,)])
def test_a_dropped_gradient_changes_nothing(network, condition, leading):
    """Without its condition, the denoiser is the same for any constraint; with it, it is not."""
    data = fields(*leading, condition=condition)
    batch = batch_of(data)
    other = Equations(lambda x: x.flatten(1)[:, :2] ** 3)
    one, two = (built(data, network, constraint, condition_dropout=0.1) for constraint in (TOTALS, other))
    x, t = torch.randn(12, *leading, 8, 4), torch.tensor(0.4)
    givens = one.null_conditions(batch), one.conditions(batch)
    with torch.no_grad():
        means = [[m.denoiser(x, t, **given).mean for m in (one, two)] for given in givens]
    torch.testing.assert_close(means[0][0], means[0][1])
    assert float((means[1][0] - means[1][1]).abs().max()) > 1e-4
    assert set(one.conditions(batch)) == {"condition", "gradient"} | ({"field"} if condition else set())


def test_it_is_dropped_in_training_as_often_as_said():
    """Of 12 x 50 samples a tenth, within 5 standard errors: a false alarm in two million."""
    data = fields(condition=False)
    model = built(data, condition_dropout=0.1).train()
    seen = []
    model.denoiser.backbone.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs["gradient"]), with_kwargs=True
    )
    batch = batch_of(data)
    for _ in range(50):
        loss, _ = model.loss(batch)
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    dropped = 1 - torch.cat(seen)
    assert set(dropped.tolist()) == {0.0, 1.0}
    assert float((dropped.mean() - 0.1).abs()) < 5 * (0.09 / 600) ** 0.5


def test_samplers_draw_with_it():
    """The scale one is the model with its gradient; a deep copy has its own space."""
    data = fields(2, condition=False)
    model = built(data, condition_dropout=0.1)
    task = SamplingTask(batch_of(data), {"c": TOTALS})
    drawn = {}
    for name, spec in {
        "plain": HeunSpec(steps=4),
        "one": ClassifierFreeSpec(scale=1.0, base=HeunSpec(steps=4)),
        "three": ClassifierFreeSpec(scale=3.0, base=HeunSpec(steps=4)),
        "guided": GuidedSpec(constraint="c", base=HeunSpec(steps=4)),
    }.items():
        torch.manual_seed(0)
        drawn[name] = spec.sample(model, task).state
    assert torch.equal(drawn["plain"], drawn["one"]) and not torch.equal(drawn["one"], drawn["three"])
    assert drawn["guided"].isfinite().all()
    copied = copy.deepcopy(model)
    copied.space.scale.mul_(2)
    assert copied.denoiser.backbone._space[0] is copied.space
    assert float(model.space.scale) < float(copied.space.scale)
    restored = built(data, condition_dropout=0.1)
    restored.load_state_dict(model.state_dict())
    torch.manual_seed(0)
    assert torch.equal(HeunSpec(steps=4).sample(restored, task).state, drawn["plain"])


def test_on_the_fake_device():
    """The constraint's tensors follow the model: a step of training and samples as on the CPU."""
    data = fields(condition=False)
    total = LinearEquality(torch.ones(1, 32), torch.tensor([1.0]))
    model = built(data, constraint=total, condition_dropout=0.1)
    batch, x = batch_of(data), torch.randn(12, 8, 4)
    with torch.no_grad():
        wanted = model.denoiser(x, torch.tensor(0.4), **model.conditions(batch)).mean
    with fake_gpu():
        moved = copy.deepcopy(model).to(DEVICE)
        there = {name: values.to(DEVICE) for name, values in batch.items()}
        with torch.no_grad():
            found = moved.denoiser(x.to(DEVICE), torch.tensor(0.4).to(DEVICE), **moved.conditions(there)).mean
        torch.testing.assert_close(found.cpu(), wanted, rtol=1e-4, atol=1e-5)
        loss, _ = moved.loss(there)
        loss.backward()


def test_without_dropping_there_is_no_denoiser_without_it():
    data = fields(condition=False)
    with pytest.raises(ValueError, match="trained with its condition only"):
        built(data).null_conditions(batch_of(data))


def test_networks_without_a_grid_are_refused():
    with pytest.raises(ValidationError, match="`residual_gradient` is a field on the grid, which `mlp`"):
        DiffusionSpec(network={"kind": "mlp"}, residual_gradient="c")


def test_it_is_not_exported(tmp_path):
    with pytest.raises(ExportError, match="a model with `residual_gradient` evaluates a constraint"):
        export_denoiser(built(fields(condition=False)), tmp_path / "exported")


def test_an_unknown_constraint_is_named_with_its_key(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        """
title: Mine
description: Mine.
dataset: {kind: burgers, points: 16, times: 4, splits: {train: 4, validation: 2, test: 2}}
constraints: {}
models:
  diffusion:
    kind: diffusion
    residual_gradient: absent
    network: {kind: unet, channels: [8], blocks: [1]}
methods:
  free: {model: diffusion, sampler: {kind: heun, steps: 2}}
metrics: {distance: {kind: sliced_wasserstein}}
samples: {count: 2}
seeds: [0]
"""
    )
    with pytest.raises(StudyError, match=r"models\.diffusion\.residual_gradient: .*absent"):
        load_study(path, "smoke")
