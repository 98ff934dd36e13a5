"""Labels in a user's data: integers of any width are classes; anything else is refused with a clear error."""

import numpy as np
import pytest
import torch
import xarray as xr

from plumbline.datasets._labels import class_labels, counts, listed_attributes
from plumbline.models._labels import Classes, Listed
from plumbline.models._spaces import batch_of, sample_shape
from plumbline.models.classifier.counter import CounterSpec

LABELS = np.array([0, 2, 1, 2, 0, 1])
DATA = {"kind": "digits", "parts": 1, "splits": {"train": 6, "validation": 2, "test": 2}}


def samples(label=None, dims=("sample",), **others):
    values = {"state": (("sample", "y", "x"), np.random.default_rng(0).random((6, 8, 8), dtype=np.float32))}
    if label is not None:
        values["label"] = (dims, label)
    return xr.Dataset(values | others)


def classifier(example):
    from plumbline.models.classifier._classifier import Classifier

    return Classifier(sample_shape(example), 3, features=8)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.int64, np.uint32])
def test_whole_numbers_of_any_width_are_classes(dtype):
    data = samples(LABELS.astype(dtype))
    np.testing.assert_array_equal(class_labels(data, 3, "here"), LABELS)
    model = classifier(data)
    model.prepare(batch_of(data))
    loss, terms = model.eval().loss(batch_of(data))
    expected = -model.log_probabilities(batch_of(data)["state"])[torch.arange(6), torch.as_tensor(LABELS)]
    torch.testing.assert_close(loss, expected.mean())
    assert 0 <= float(terms["accuracy"]) <= 1


FAULTS = {
    "negative": (LABELS - 1, "found -1 in sample 0 .2 such values in all.: number the classes from 0"),
    "from one": (
        LABELS + 1,
        "found 3 in sample 1 .2 such values in all.: number the classes from 0, or raise",
    ),
    "float": (LABELS.astype(float), "found labels of type float64: store them as integers"),
    "boolean": (LABELS > 0, "found labels of type bool"),
    "one-hot": (np.eye(3)[LABELS], r"found shape \(6, 3\): store one-hot labels as the position"),
    "text": (np.array(["cat", "dog", "owl"])[LABELS], "found labels of type <U3"),
    "none": (None, "the dataset has no `label` with numbers"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_other_labels_are_refused_by_models_and_metrics(fault):
    label, found = FAULTS[fault]
    data = samples(label, ("sample", "k")[: np.ndim(label)] if label is not None else ())
    with pytest.raises(ValueError, match=f"`here`: expected a `label` .* from 0 to 2.*{found}"):
        class_labels(data, 3, "here")
    # Text is not converted to a tensor: a model gets no labels.
    found = "no `label` with numbers" if fault == "text" else found
    with pytest.raises(ValueError, match=f"`classes`: .*{found}"):
        classifier(data).prepare(batch_of(data))
    with pytest.raises(ValueError, match=rf"`wanted\.classes`: .*{found}"):
        Classes(3).fit_blocks([batch_of(data)])


def test_labels_of_later_samples_are_checked_too():
    wanted = Classes(3)
    wanted.fit_blocks([batch_of(samples(LABELS))])
    np.testing.assert_array_equal(wanted.of(batch_of(samples(LABELS))), np.eye(3)[LABELS])
    with pytest.raises(ValueError, match="found 3 in sample 1"):
        wanted.of(batch_of(samples(LABELS + 1)))


def test_counts_are_numbers_from_zero_on():
    assert counts(samples(LABELS.astype(np.float32)), "counter").tolist() == LABELS.tolist()
    for label, found in (
        (LABELS - 1.0, "found -1.0 in sample 0"),
        (np.where(LABELS == 1, np.nan, LABELS), "found nan in sample 2"),
        (LABELS > 0, "of type bool"),
        (np.eye(3)[LABELS], r"found shape \(6, 3\)"),
    ):
        data = samples(label, ("sample", "k")[: label.ndim])
        with pytest.raises(ValueError, match=f"`counter`: .*{found}"):
            CounterSpec(dataset=DATA).build(context(data)).prepare(batch_of(data))


def context(data):
    from plumbline.models import BuildContext

    return BuildContext(example=data)


def test_attributes_are_ones_and_zeros():
    right = (np.arange(12).reshape(6, 2) % 3 == 0).astype(np.int64)
    listed = samples(attributes=(("sample", "attribute"), right))
    np.testing.assert_array_equal(listed_attributes(listed, "here"), right)
    for values, found in (
        (2 * right - 1, "found -1 in sample 0, attribute 1"),
        (right * 0.5, "found 0.5 in sample 0"),
    ):
        with pytest.raises(ValueError, match=f"`wanted`: .*{found}"):
            Listed(["a", "b"]).fit_blocks([batch_of(samples(attributes=(("sample", "attribute"), values)))])
    with pytest.raises(ValueError, match=r"`wanted`: .*the dataset has none"):
        Listed(["a", "b"]).fit_blocks([batch_of(samples())])


@pytest.mark.parametrize(
    ("dims", "values", "found"),
    [
        (("sample",), np.zeros(6), r"found \(sample\) of the type float64"),
        (("sample", "row", "column"), np.zeros((6, 5, 8)), r"found \(sample, row, column\)"),
        (("sample", "c"), np.full((6, 1), "hot"), r"found \(sample, c\) of the type <U3"),
    ],
)
def test_a_condition_that_is_no_table_of_numbers_is_refused(dims, values, found):
    assert sample_shape(samples(condition=(("sample", "c"), np.zeros((6, 3))))).condition == 3
    assert sample_shape(samples(condition=(("sample", "y", "x"), np.zeros((6, 8, 8))))).field
    with pytest.raises(ValueError, match=rf"`condition` .*\(sample, component\).*{found}"):
        sample_shape(samples(condition=(dims, values)))


def test_sets_are_told_by_booleans_as_by_whole_numbers():
    from plumbline.models.distributional._sets import read_set
    from plumbline.models.distributional.dual_diffusion import ConstraintSetSpec

    spec = ConstraintSetSpec(where={"label": [1]})
    for label in (LABELS == 1, (LABELS == 1).astype(np.int16)):
        assert read_set("rare", spec, [batch_of(samples(label))])["label"].tolist() == [1, 1]
