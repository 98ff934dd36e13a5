"""Restorers: precise for small corrections, alone and after a diffusion model."""

import pytest
import torch
import xarray as xr

from plumbline.constraints.sum import SumSpec
from plumbline.models import BuildContext
from plumbline.models.diffusion.diffusion import DiffusionSpec
from plumbline.models.mirror.finetuned_mirror import FinetunedMirrorSpec
from plumbline.models.mirror.restored import RestoredSpec
from plumbline.models.mirror.restorer import RestorerSpec
from plumbline.samplers import SamplingTask
from plumbline.samplers.best_of_n import BestOfNSpec
from plumbline.samplers.heun import HeunSpec
from plumbline.training import TrainingSpec
from plumbline.training.feed import InMemory
from plumbline.training.loop import train

SIZE, RANK = 16, 4
NETWORK = {"kind": "mlp", "width": 128, "blocks": 3}


def states(count: int, seed: int) -> torch.Tensor:
    """Normal samples on a plane of dimension four through (1, ..., 1), whose coordinates sum to sixteen."""
    basis = torch.linalg.qr(torch.randn(SIZE, RANK + 1, generator=torch.Generator().manual_seed(7)))[0]
    ones = torch.ones(SIZE)
    along = torch.linalg.qr(basis - torch.outer(ones, ones @ basis) / SIZE)[0][:, :RANK]
    return ones + 2 * torch.randn(count, RANK, generator=torch.Generator().manual_seed(seed)) @ along.T


def context(**models) -> BuildContext:
    example = xr.Dataset({"state": (("sample", "x"), states(1, 0).numpy())})
    return BuildContext(example, {"total": SumSpec(total=float(SIZE)).build(example)}, models)


def trained(model, data, folder, steps):
    spec = TrainingSpec(steps=steps, batch=64, learning_rate=2e-3, warmup=20, ema=0.98, accelerator="cpu")
    return train(model, InMemory(data), spec, seed=0, folder=folder, identity="test").eval()


@pytest.fixture(scope="module")
def restorer(tmp_path_factory):
    torch.manual_seed(0)
    model = RestorerSpec(constraint="total", network=NETWORK, decoding_noise=[0.1, 0.03]).build(context())
    data = {"state": states(4000, 1)}
    model.prepare(data)
    return trained(model, data, tmp_path_factory.mktemp("restorer"), 3000).requires_grad_(False)


@pytest.mark.parametrize("sigma", [0.005, 0.05, 0.5])
def test_what_is_left_of_noise_is_near_to_that_of_the_plane_at_every_level(restorer, sigma):
    """Projection on the plane leaves sqrt(4 / 16) = .5 of the noise.

    The network must leave little more, also at low levels.
    """
    torch.manual_seed(1)
    z = restorer.space.encode(states(500, 2))
    noisy = z + sigma * torch.randn_like(z)
    restored = restorer.restored(noisy, torch.full((1,), sigma))
    assert float((restored - z).square().mean().sqrt()) < 0.7 * sigma
    left, before = (restorer.constraint.distance(restorer.space.decode(y)).mean() for y in (restored, noisy))
    assert float(left) < 0.15 * float(before)


def test_a_sample_told_to_be_right_is_left_alone(restorer):
    y = restorer.space.encode(states(10, 3)) + torch.randn(10, SIZE)
    assert torch.allclose(restorer.restored(y, torch.full((1,), 1e-7)), y, atol=1e-5)


def test_the_loss_is_the_sum_of_its_terms_in_units_of_the_noise():
    torch.manual_seed(0)
    model = RestorerSpec(constraint="total", network=NETWORK).build(context())
    batch = {"state": states(512, 4)}
    model.prepare(batch)
    model.network.exit[-1].weight.data.zero_()
    model.network.exit[-1].bias.data.zero_()
    loss, terms = model.loss(batch)
    # A network with zero output leaves the noise: E|e| sqrt(1 + s^2), .8 to 1.13.
    assert 0.75 < float(terms["reconstruction"]) < 1.2
    assert float(loss) == pytest.approx(
        float(terms["reconstruction"] / 2 + model.weight * terms["constraint"]), rel=1e-5
    )


def test_what_a_diffusion_model_draws_comes_nearer(restorer, tmp_path):
    torch.manual_seed(0)
    data = {"state": states(4000, 1)}
    plain = DiffusionSpec(network=NETWORK).build(context())
    plain.prepare(data)
    plain = trained(plain, data, tmp_path / "plain", 300)
    behind = RestoredSpec(diffusion="plain", restorer="f").build(context(plain=plain, f=restorer))
    distances = []
    for model, evaluations in ((plain, 21), (behind, 23)):
        torch.manual_seed(2)
        drawn = HeunSpec(steps=10).sample(model, SamplingTask({"state": states(200, 5)}))
        samples = drawn.state
        assert drawn.costs.network_evaluations == evaluations
        distances.append(float(restorer.constraint.distance(samples).mean()))
    assert distances[1] < 0.5 * distances[0]
    # Each of three draws takes twenty-one evaluations plus two passes of the restorer.
    task = SamplingTask({"state": states(20, 5)}, {"total": restorer.constraint})
    best = BestOfNSpec(constraint="total", draws=3, base=HeunSpec(steps=10)).sample(behind, task)
    assert best.costs.network_evaluations == 3 * (21 + 2)


def test_as_a_space_it_is_the_samples_and_cannot_be_finetuned(restorer):
    model = DiffusionSpec(network=NETWORK, space="f").build(context(f=restorer))
    x = states(300, 6)
    model.prepare({"state": x})
    assert torch.allclose(
        model.space.standard.decode(model.space.encode(x)), restorer.space.encode(x), atol=1e-5
    )
    spec = FinetunedMirrorSpec(finetune_on="model", constraint="total", sampler=HeunSpec(steps=2))
    with pytest.raises(ValueError, match="does not work in the space of a mirror map"):
        spec.build(context(model=model))


@pytest.mark.rejects
@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"noise_min": 0.5, "noise_max": 0.2}, "`noise_min` .0.5. must be less than `noise_max`"),
        ({"decoding_noise": [0.001]}, "`decoding_noise` .0.001. is not between"),
        ({"decoding_noise": []}, "at least 1"),
    ],
)
def test_noise_that_it_is_not_trained_for_is_refused(values, words):
    with pytest.raises(ValueError, match=words):
        RestorerSpec(constraint="total", network=NETWORK, **values)
