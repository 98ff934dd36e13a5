"""The classifier, and the metrics that use its predictions."""

import numpy as np
import pytest
import torch
import xarray as xr
from scipy.linalg import sqrtm
from sklearn.metrics.pairwise import polynomial_kernel

from plumbline.datasets.digits import DigitsSpec
from plumbline.metrics import EvaluationContext
from plumbline.metrics.class_fractions import ClassFractionsSpec
from plumbline.metrics.class_quality import ClassQualitySpec, kernel_distance
from plumbline.metrics.frechet import FrechetSpec, frechet_distance
from plumbline.models import BuildContext
from plumbline.models._spaces import batch_of
from plumbline.models.classifier.classifier import ClassifierSpec
from plumbline.training import TrainingSpec
from plumbline.training.feed import InMemory
from plumbline.training.loop import train

ALL = {"kind": "digits", "parts": 1, "splits": {"train": 997, "validation": 400, "test": 400}}


@pytest.fixture(scope="module")
def digits():
    rare = {4: 0.3, 5: 0.3, 7: 0.3}
    splits = {"train": 780, "validation": 400, "test": 400}
    return DigitsSpec(rare=rare, parts=1, splits=splits).draw_part(0)


@pytest.fixture(scope="module")
def classifier(digits, tmp_path_factory):
    torch.manual_seed(0)
    own = ClassifierSpec(dataset=ALL, channels=16)
    model = own.build(BuildContext(digits))
    batches = batch_of(own.dataset.draw_split("train"))
    model.prepare(batches)
    spec = TrainingSpec(steps=500, batch=64, learning_rate=3e-3, ema=0.95, accelerator="cpu")
    folder = tmp_path_factory.mktemp("classifier")
    return train(model, InMemory(batches), spec, seed=0, folder=folder, identity="test").eval()


def real(digits, split):
    return digits.isel(sample=np.flatnonzero(digits["split"].values == split))


def test_classes_are_rare_in_the_train_split_alone(digits):
    counts = {split: np.bincount(real(digits, split)["label"], minlength=10) for split in ("train", "test")}
    assert counts["train"][[4, 5, 7]].max() < 0.35 * np.delete(counts["train"], [4, 5, 7]).min() + 5
    assert counts["test"][[4, 5, 7]].min() > 25


def test_held_out_images_are_in_no_training(digits):
    trained = {
        image.tobytes() for image in DigitsSpec.model_validate(ALL).draw_split("train")["state"].values
    }
    shared = {image.tobytes() for image in real(digits, "train")["state"].values}
    held = {
        image.tobytes() for split in ("validation", "test") for image in real(digits, split)["state"].values
    }
    assert shared <= trained
    assert not held & trained


def test_of_some_classes_alone():
    splits = {"train": 40, "validation": 20, "test": 20}
    data = DigitsSpec(classes=[5, 6], parts=1, splits=splits).draw_part(0)
    assert set(data["label"].values.tolist()) == {5, 6}


def test_more_images_than_rare_classes_leave_are_refused():
    splits = {"train": 997, "validation": 400, "test": 400}
    with pytest.raises(ValueError, match=r"there are 1[0-9]{3} images, and `splits` ask for 1797"):
        DigitsSpec(rare={4: 0.3}, parts=1, splits=splits).draw_part(0)


def test_it_tells_classes_of_images_that_it_has_not_seen(classifier, digits):
    values = ClassFractionsSpec(classifier="c", watched=(4,)).evaluate(
        real(digits, "test"), digits, EvaluationContext(models={"c": classifier})
    )
    assert float(values["classifier_accuracy"]) > 0.93
    assert float(values["class_distance"]) == 0
    assert float(values["class_fraction"].sum()) == pytest.approx(1)
    assert float(values["fraction_of_4"]) == pytest.approx(float(values["class_fraction"][4]))


def test_shares_are_of_what_was_drawn(classifier, digits):
    """For real fours as samples, the fraction of fours is the classifier's accuracy on them."""
    fours = real(digits, "test")
    fours = fours.isel(sample=np.flatnonzero(fours["label"].values == 4)).drop_vars("split")
    values = ClassFractionsSpec(classifier="c", watched=(4, 7)).evaluate(
        fours, digits, EvaluationContext(models={"c": classifier})
    )
    assert "classifier_accuracy" not in values
    assert float(values["fraction_of_4"]) > 0.9
    assert float(values["class_distance"]) > 0.75


def test_the_frechet_distance_of_gaussians():
    """Agrees with the textbook formula, using SciPy's matrix square root."""
    generator = np.random.default_rng(0)
    a = generator.standard_normal((500, 6)) @ generator.standard_normal((6, 6)) + 1
    b = generator.standard_normal((400, 6)) @ generator.standard_normal((6, 6))
    s, r = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    truth = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(s + r - 2 * sqrtm(s @ r).real)
    assert frechet_distance(a, b) == pytest.approx(truth, rel=1e-8)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)


def test_images_of_other_shares_are_farther(classifier, digits):
    by = EvaluationContext(models={"c": classifier})
    spec = FrechetSpec(classifier="c")
    held, trained = (
        float(spec.evaluate(real(digits, split), digits, by)["frechet"]) for split in ("validation", "train")
    )
    assert 0 < held < 0.7 * trained


def test_real_data_is_no_floor_of_the_distance_to_another_dataset(classifier, digits):
    """Images of the classes 0 to 4 are nearer to others of these classes than real data of all classes is."""
    few = DigitsSpec(classes=[0, 1, 2, 3, 4], parts=1, splits={"train": 2, "validation": 400, "test": 400})
    spec, by = FrechetSpec(classifier="c", to={"few": few}), EvaluationContext(models={"c": classifier})
    drawn = few.draw_split("validation")
    of_few, of_all = (spec.evaluate(samples, digits, by) for samples in (drawn, real(digits, "validation")))
    assert float(of_few["frechet_to_few"]) < float(of_all["frechet_to_few"])
    assert not of_few["frechet_to_few"].attrs["floor"]
    assert of_few["frechet"].attrs["floor"]


def test_the_kernel_distance_is_unbiased():
    """The mean over 400 pairs of sets of ten from one Gaussian is zero within four standard errors."""
    rng = np.random.default_rng(0)
    found = [kernel_distance(rng.standard_normal((10, 3)), rng.standard_normal((10, 3))) for _ in range(400)]
    assert abs(np.mean(found)) < 4 * np.std(found) / 20


def test_the_kernel_distance_is_that_of_the_kernels():
    rng = np.random.default_rng(1)
    first, second = rng.standard_normal((6, 3)), 1 + rng.standard_normal((5, 3))
    inner, outer = polynomial_kernel(first, gamma=1 / 3), polynomial_kernel(second, gamma=1 / 3)
    between = polynomial_kernel(first, second, gamma=1 / 3).mean()
    within = [k[~np.eye(len(k), dtype=bool)].mean() for k in (inner, outer)]
    assert kernel_distance(first, second) == pytest.approx(sum(within) - 2 * between)


def test_a_spoiled_class_is_worse_and_the_others_are_not(classifier, digits):
    """With noise on the images of ones, samples still classified as ones are farther from real ones."""
    images, quality = real(digits, "validation"), ClassQualitySpec(classifier="c", watched=(1, 6))
    by = EvaluationContext(models={"c": classifier})
    clean = quality.evaluate(images, digits, by)
    spoiled = images.copy(deep=True)
    ones = spoiled["label"].values == 1
    noise = np.random.default_rng(0).normal(0, 0.3, spoiled["state"].shape)
    spoiled["state"].values[ones] += noise[ones].astype(np.float32)
    found = quality.evaluate(spoiled, digits, by)
    assert float(found["quality_of_1"]) > 3 * abs(float(clean["quality_of_1"]))
    assert float(found["quality_of_6"]) == pytest.approx(float(clean["quality_of_6"]), abs=0.1)
    assert float(found["class_quality"]) > float(clean["class_quality"])


def test_a_class_that_is_not_drawn_has_no_quality(classifier, digits):
    images = real(digits, "test")
    fours = images.isel(sample=np.flatnonzero(images["label"].values == 4))
    quality = ClassQualitySpec(classifier="c", watched=(0,))
    assert np.isnan(
        quality.evaluate(fours, digits, EvaluationContext(models={"c": classifier}))["quality_of_0"]
    )


def test_labels_beyond_the_classes_are_refused(digits):
    model = ClassifierSpec(dataset=ALL, classes=5).build(BuildContext(digits))
    with pytest.raises(
        ValueError, match=r"`classes`: expected a `label` .* from 0 to 4, found [5-9] in sample"
    ):
        model.prepare(batch_of(digits))


def test_it_needs_images():
    table = xr.Dataset({"state": (("sample", "component"), np.zeros((1, 3)))})
    with pytest.raises(ValueError, match="needs samples on a grid"):
        ClassifierSpec(dataset=ALL).build(BuildContext(table))
