"""The classifier of attributes, and the metrics that use its predictions."""

import numpy as np
import pytest
import torch
import xarray as xr
from sklearn.metrics import balanced_accuracy_score, f1_score

from plumbline.datasets.stored import StoredSpec
from plumbline.metrics import EvaluationContext
from plumbline.metrics.attribute_accuracy import AttributeAccuracySpec, balanced_accuracy, f1
from plumbline.metrics.frechet import FrechetSpec
from plumbline.models import BuildContext
from plumbline.models._spaces import batch_of
from plumbline.models.classifier.attribute_classifier import AttributeClassifierSpec
from plumbline.training import TrainingSpec
from plumbline.training.feed import InMemory
from plumbline.training.loop import train

NAMES = ["top", "left", "rare"]
UNREAD = StoredSpec(path="none.zarr", parts=1, splits={"train": 2, "validation": 2, "test": 2})


def noisy_images(count=900, seed=0):
    """Noisy images whose attributes brighten the upper half, the left half, or (one in ten) a corner."""
    generator = np.random.default_rng(seed)
    has = generator.random((count, 3)) < [0.5, 0.5, 0.1]
    state = 0.3 * generator.standard_normal((count, 8, 8))
    state[:, :4] += has[:, 0, None, None]
    state[:, :, :4] += has[:, 1, None, None]
    state[:, 6:, 6:] += 2 * has[:, 2, None, None]
    split = np.repeat(["train", "validation", "test"], [count - 200, 100, 100])
    return xr.Dataset(
        {"state": (("sample", "y", "x"), state.astype(np.float32)),
         "attributes": (("sample", "attribute"), has.astype(np.int64))},
        coords={"attribute": NAMES, "split": ("sample", split)},
    )  # fmt: skip


def part(data, split):
    return data.isel(sample=np.flatnonzero(data["split"].values == split))


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    torch.manual_seed(0)
    data = noisy_images()
    model = AttributeClassifierSpec(dataset=UNREAD, channels=8, features=16).build(BuildContext(data))
    batches = batch_of(part(data, "train"))
    model.prepare(batches)
    spec = TrainingSpec(steps=400, batch=64, learning_rate=3e-3, ema=0.95, accelerator="cpu")
    folder = tmp_path_factory.mktemp("classifier")
    return train(model, InMemory(batches), spec, seed=0, folder=folder, identity="test").eval()


def evaluated(classifier, samples, data):
    by = EvaluationContext(models={"c": classifier})
    return AttributeAccuracySpec(classifier="c").evaluate(samples, data, by)


def test_attributes_of_new_pictures_are_told(classifier):
    data = noisy_images()
    found = evaluated(classifier, part(data, "validation").drop_vars("split"), data)
    assert float(found["attribute_accuracy"]) > 0.95
    assert float(found["attribute_f1"]) > 0.9
    assert float(found["recall_over_real"]) == 1
    frechet = FrechetSpec(classifier="c").evaluate(
        part(data, "test"), data, EvaluationContext(models={"c": classifier})
    )
    assert float(frechet["frechet"]) == pytest.approx(0, abs=1e-6)


def test_what_was_wanted_counts_before_what_a_sample_was_drawn_for(classifier):
    data = noisy_images()
    samples = part(data, "test").drop_vars("split")
    for i, name in enumerate(NAMES):
        samples[f"wanted_{name}"] = ("sample", 1 - samples["attributes"].values[:, i])
    found = evaluated(classifier, samples, data)
    assert float(found["attribute_accuracy"]) < 0.05


def test_what_is_never_drawn_is_half_right(classifier):
    """A corner that is never bright is right in nine of ten images, but has a balanced accuracy of a half."""
    data = noisy_images()
    samples = part(data, "test").drop_vars("split")
    samples["state"][:, 6:, 6:] = np.minimum(samples["state"][:, 6:, 6:], 0)
    found = evaluated(classifier, samples, data)
    assert float(found["has_rare"]) == pytest.approx(0.5, abs=0.05)


def test_scores_are_those_of_scikit_learn():
    generator = np.random.default_rng(1)
    wanted, has = generator.random((200, 3)) < 0.2, generator.random((200, 3)) < 0.4
    for i in range(3):
        assert balanced_accuracy(has, wanted)[i] == pytest.approx(
            balanced_accuracy_score(wanted[:, i], has[:, i])
        )
        assert f1(has, wanted)[i] == pytest.approx(f1_score(wanted[:, i], has[:, i]))
    none = np.zeros((5, 1), bool)
    assert balanced_accuracy(none, none) == f1(none, none) == 1


def test_a_dataset_without_attributes_is_refused():
    with pytest.raises(ValueError, match="lists no `attributes`"):
        AttributeClassifierSpec(dataset=UNREAD).build(
            BuildContext(noisy_images().drop_vars(["attributes", "attribute"]))
        )
