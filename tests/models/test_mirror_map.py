"""Mirror maps: properties of g by construction, what f learns, and diffusion in the mirror space."""

import math
from functools import partial

import numpy as np
import pytest
import torch
import xarray as xr

from plumbline.constraints.sum import SumSpec
from plumbline.models import BuildContext
from plumbline.models.diffusion.diffusion import DiffusionSpec
from plumbline.models.mirror._mirror_map import sensitivity
from plumbline.models.mirror.finetuned_mirror import FinetunedMirrorSpec
from plumbline.models.mirror.mirror_map import MirrorMapSpec
from plumbline.progress import Progress
from plumbline.samplers import SamplingTask
from plumbline.training import TrainingSpec
from plumbline.training.feed import InMemory
from plumbline.training.loop import train

TOTAL = 20.0
SMALL = {"forward": {"kind": "input_convex", "filters": 8, "layers": 1},
         "inverse": {"kind": "unet", "channels": [16, 32], "blocks": [1, 1], "embedding": 16}}  # fmt: skip


def images(count: int, seed: int = 0) -> torch.Tensor:
    """Blobs of random position and width, 8 x 8, all of one total."""
    generator = np.random.default_rng(seed)
    place = generator.uniform(1, 7, (count, 2, 1, 1))
    width = generator.uniform(0.8, 2, (count, 1, 1))
    y, x = np.mgrid[:8, :8]
    blob = np.exp(-((y - place[:, 0]) ** 2 + (x - place[:, 1]) ** 2) / (2 * width**2))
    return torch.as_tensor(TOTAL * blob / blob.sum((1, 2), keepdims=True)).float()


def dataset() -> xr.Dataset:
    return xr.Dataset({"state": (("sample", "y", "x"), images(1).numpy())})


def foundation(**models) -> BuildContext:
    return BuildContext(dataset(), {"brightness": SumSpec(total=TOTAL).build(dataset())}, models)


def trained(model, data, folder, steps):
    spec = TrainingSpec(steps=steps, batch=32, learning_rate=2e-3, warmup=20, ema=0.9, accelerator="cpu")
    return train(model, InMemory(data), spec, seed=0, folder=folder, identity="test").eval()


@pytest.fixture(scope="module")
def mirror(tmp_path_factory):
    torch.manual_seed(0)
    model = MirrorMapSpec(constraint="brightness", sigma_max=1.0, decoding_noise=[0.1, 0.05], **SMALL).build(
        foundation()
    )
    data = {"state": images(500)}
    model.prepare(data)
    return trained(model, data, tmp_path_factory.mktemp("mirror"), 400).requires_grad_(False)


def test_the_sensitivity_of_a_sum_is_known(mirror):
    """E|sum of n normal values of std s| = s sqrt(2 n / pi).

    256 probes estimate it to 5%; 24% is five sigma.
    """
    torch.manual_seed(0)
    batch = {"state": images(256, seed=5)}
    expected = float(mirror.space.scale) * math.sqrt(2 * 64 / math.pi)
    assert sensitivity(mirror.constraint, batch, mirror.space, 1.0) == pytest.approx(expected, rel=0.24)
    assert float(mirror.weight) == pytest.approx(3.0 * 0.4 / expected, rel=0.24)


def test_g_after_training_is_strongly_monotone_and_its_inverse_lipschitz(mirror):
    a = mirror.strong_convexity
    z, other = 2 * torch.randn(2, 100, 8, 8)
    with torch.no_grad():
        images_of = mirror.image(z) - mirror.image(other)
    apart = z - other
    inner = (images_of * apart).flatten(1).sum(1)
    assert (inner >= (a - 1e-5) * apart.square().flatten(1).sum(1)).all()
    assert (images_of.flatten(1).norm(dim=1) >= (a - 1e-5) * apart.flatten(1).norm(dim=1)).all()


def test_f_takes_noise_off_and_restores_the_constraint(mirror):
    torch.manual_seed(1)
    z = mirror.space.encode(images(200, seed=7))
    with torch.no_grad():
        y = mirror.image(z)
        noisy = y + y.std() * torch.randn_like(y)
        restored = mirror.restored(noisy, torch.ones(200))
        clean = mirror.restored(y, torch.zeros(200))
    distance = mirror.constraint.distance
    before = distance(mirror.space.decode(z + torch.randn_like(z))).mean()
    assert distance(mirror.space.decode(restored)).mean() < 0.5 * before
    assert (restored - z).abs().mean() < 0.7 * math.sqrt(2 / math.pi)
    assert (clean - z).abs().mean() < 0.1


@pytest.mark.parametrize("published", [False, True])
def test_the_loss_is_the_sum_of_its_terms(published):
    torch.manual_seed(0)
    values = {"noisy_target": "image", "constraint_unit": "distance", "constraint_weight": 0.01,
              "scaling": "none", "activation": "softplus", "noise_unit": "space"}  # fmt: skip
    spec = MirrorMapSpec(constraint="brightness", **SMALL, **(values if published else {}))
    model = spec.build(foundation())
    batch = {"state": images(16)}
    model.prepare(batch)
    loss, terms = model.loss(batch)
    reconstruction = (terms["reconstruction"] + terms["noisy_reconstruction"]) / 2
    expected = reconstruction + float(model.weight) * terms["constraint"] + 1e-3 * terms["regularisation"]
    assert float(loss) == pytest.approx(float(expected), rel=1e-5)
    if published:
        assert float(model.weight) == pytest.approx(0.01)
        assert torch.equal(model.space.encode(batch["state"]), batch["state"])
    loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_without_a_map_f_alone_is_trained_and_paid_for():
    spec = MirrorMapSpec(constraint="brightness", strong_convexity=1.0, decoding_noise=[0.1, 0.05], **SMALL)
    model = spec.build(foundation())
    z = torch.randn(5, 8, 8)
    assert torch.equal(model.image(z), z)
    assert {name.split(".")[0] for name, _ in model.named_parameters()} == {"inverse_network"}
    assert model.decoding_evaluations == 2
    batch = {"state": images(16)}
    model.prepare(batch)
    assert model.loss(batch)[1]["regularisation"] == 0


def test_a_step_never_leaves_a_weight_of_the_potential_negative():
    model = MirrorMapSpec(constraint="brightness", **SMALL).build(foundation())
    model.forward_network.last.weight.data.fill_(-1.0)
    model.after_step({})
    assert (model.forward_network.last.weight >= 0).all()


def test_diffusion_in_the_mirror_space_draws_samples_that_f_restores(mirror, tmp_path, monkeypatch, caplog):
    """The map's weights are stored with the model and do not change in its training."""
    torch.manual_seed(0)
    network = {"kind": "mlp", "width": 64, "blocks": 2}
    spec = DiffusionSpec(network=network, space="map")
    model = spec.build(foundation(map=mirror))
    data = {"state": images(500)}
    model.prepare(data)
    before = {name: tensor.clone() for name, tensor in mirror.state_dict().items()}
    model = trained(model, data, tmp_path / "diffusion", 300)
    for name, tensor in before.items():
        assert torch.equal(model.state_dict()[f"space.mirror.{name}"], tensor), name
    images_of = model.space.encode(data["state"])
    assert float(images_of.std()) == pytest.approx(1.0, abs=1e-3)
    with torch.no_grad():
        back = model.space.decode(images_of)
    assert (back - data["state"]).abs().mean() < 0.25 * data["state"].std()
    sampler = {"kind": "heun", "steps": 10}
    finetuned = FinetunedMirrorSpec(finetune_on="mirror", constraint="brightness", sampler=sampler)
    tuned = finetuned.build(foundation(mirror=model.requires_grad_(False)))
    monkeypatch.setattr("plumbline.samplers._drawing.Progress", partial(Progress, every=0))
    with caplog.at_level("INFO", "plumbline.training"):
        tuned.prepare(data)
    assert "0 of 500 training samples drawn" in caplog.messages
    assert data["drawn"].shape == (500, 2, *data["state"].shape[1:])
    with torch.no_grad():
        second = mirror.image(mirror.restored(data["drawn"][:, 0], torch.tensor([0.1])))
        target = mirror.restored(data["drawn"][:, 1], torch.tensor([0.05]))
    torch.testing.assert_close(data["drawn"][:, 1], second, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(data["target"], target, rtol=1e-4, atol=1e-4)
    tuned = trained(tuned, data, tmp_path / "finetuned", 100)
    g = dict(model.space.mirror.forward_network.named_parameters())
    assert all(torch.equal(g[n], p) for n, p in tuned.space.mirror.forward_network.named_parameters())
    distances = []
    for drawing in (model, tuned):
        torch.manual_seed(2)
        drawn = finetuned.sampler.sample(drawing, SamplingTask({"state": images(100, seed=3)}))
        samples = drawn.state
        # Two evaluations per step of Heun's method, one at its end, two of f and one of g between.
        assert drawn.costs.network_evaluations == 2 * 10 + 1 + 3
        distances.append(float(mirror.constraint.distance(samples).mean()))
    assert distances[1] < distances[0]


def test_a_space_must_be_that_of_a_mirror_map():
    plain = DiffusionSpec(network={"kind": "mlp", "width": 8, "blocks": 1}).build(foundation())
    spec = FinetunedMirrorSpec(
        finetune_on="plain", constraint="brightness", sampler={"kind": "heun", "steps": 2}
    )
    with pytest.raises(ValueError, match="does not work in the space of a mirror map"):
        spec.build(foundation(plain=plain))


@pytest.mark.rejects
@pytest.mark.parametrize(
    ("spec", "values", "message"),
    [
        (
            MirrorMapSpec,
            {"inverse": SMALL["inverse"], "decoding_noise": [0.05, 0.2]},
            "more than `sigma_max`",
        ),
        (
            FinetunedMirrorSpec,
            {"finetune_on": "m", "sampler": {"kind": "predictive"}},
            "does not draw by denoising",
        ),
        (
            FinetunedMirrorSpec,
            {"finetune_on": "m", "sampler": {"kind": "heun"}, "training": {"validate_every": 20}},
            "images are drawn for the train split alone",
        ),
    ],
)
def test_what_cannot_work_is_refused(spec, values, message):
    with pytest.raises(ValueError, match=message):
        spec(constraint="brightness", **values)
