"""The counter, and the constraint that it defines."""

import pytest
import torch

from plumbline.constraints.learned_count import LearnedCountSpec
from plumbline.datasets.galaxies import GalaxiesSpec
from plumbline.models import BuildContext
from plumbline.models._spaces import batch_of
from plumbline.models.classifier.counter import CounterSpec
from plumbline.training import TrainingSpec
from plumbline.training.feed import InMemory
from plumbline.training.loop import train

IMAGES = {"kind": "galaxies", "points": 24, "apart": 3.0}
SPLITS = {"train": 3000, "validation": 2, "test": 2}


@pytest.fixture(scope="module")
def data():
    return GalaxiesSpec(
        **IMAGES, count=4, parts=1, splits={"train": 2, "validation": 2, "test": 200}
    ).draw_part(0)


@pytest.fixture(scope="module")
def counter(data, tmp_path_factory):
    torch.manual_seed(0)
    own = {**IMAGES, "kind": "galaxies", "count": 0, "most": 8, "seed": 50, "splits": SPLITS}
    spec = CounterSpec(dataset=own, channels=16, features=64)
    model = spec.build(BuildContext(data))
    batches = batch_of(spec.dataset.draw_split("train"))
    model.prepare(batches)
    assert set(batches["label"].tolist()) == set(range(9))
    spec = TrainingSpec(steps=500, batch=64, learning_rate=2e-3, ema=0.98, accelerator="cpu")
    folder = tmp_path_factory.mktemp("counter")
    return train(model, InMemory(batches), spec, seed=0, folder=folder, identity="test").eval()


def test_it_counts_images_that_it_has_not_seen(counter, data):
    x = torch.as_tensor(data.isel(sample=slice(4, None))["state"].values)
    with torch.no_grad():
        error = counter.count(x) - 4
    # Counts are uniform on 0 to 8 in training: a constant guess has a mean absolute error of 20 / 9.
    assert float(error.abs().mean()) < 1.0


def test_the_distance_is_that_of_the_count_and_can_be_descended(counter, data):
    constraint = LearnedCountSpec(counter="counter", count=4.0).build(data)
    with pytest.raises(ValueError, match="needs the trained counter 'counter'"):
        constraint.distance(torch.zeros(1, 24, 24))
    bound = constraint.bind_models({"counter": counter})
    x = torch.as_tensor(data["state"].values).double().requires_grad_()
    distance = bound.distance(x)
    torch.testing.assert_close(distance.float(), (counter.count(x.float()) - 4).abs(), rtol=1e-4, atol=1e-4)
    (gradient,) = torch.autograd.grad(distance.sum(), x)
    step = distance.detach() / gradient.flatten(1).square().sum(1)
    moved = x.detach() - 0.3 * step[:, None, None] * gradient
    assert bound.distance(moved).mean() < 0.85 * distance.mean()
    assert bound.bind_models({}) is bound
