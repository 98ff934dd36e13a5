"""Metrics of predictions, autoencoders and gradients on cases with known answers."""

import numpy as np
import pytest
import torch
import xarray as xr

from plumbline.constraints._linear_equality import LinearEquality
from plumbline.metrics import EvaluationContext
from plumbline.metrics.autoencoding import AutoencodingSpec
from plumbline.metrics.error_by_group import ErrorByGroupSpec
from plumbline.metrics.prediction import PredictionSpec

COUNT = 20_000


def dataset(test: np.ndarray, **variables) -> xr.Dataset:
    """A train split of ones and twos, and a test split."""
    train = np.array([[1.0, 2.0], [3.0, -4.0]])
    state = np.concatenate([train, test])
    split = ["train"] * 2 + ["test"] * len(test)
    data = xr.Dataset({"state": (("sample", "coordinate"), state)}, coords={"split": ("sample", split)})
    return data.assign(variables)


def predicted(mean: np.ndarray, std: np.ndarray, **variables) -> xr.Dataset:
    dims = ("sample", "coordinate")
    values = {"state": (dims, mean), "predicted_mean": (dims, mean), "predicted_std": (dims, std)}
    return xr.Dataset({**values, **variables})


def test_a_perfect_forecaster_is_calibrated_and_has_the_crps_of_a_gaussian():
    """Coverage within 5 standard errors for 40,000 values; E CRPS = sigma / sqrt(pi)."""
    generator = np.random.default_rng(0)
    mean = generator.standard_normal((COUNT, 2))
    std = np.exp(generator.standard_normal((COUNT, 2)))
    test = mean + std * generator.standard_normal((COUNT, 2))
    values = PredictionSpec(scale="none").evaluate(predicted(mean, std), dataset(test), EvaluationContext())
    assert np.abs(values["coverage_by_level"] - values["level"]).max() < 5 * 0.5 / (2 * COUNT) ** 0.5
    assert float(values["crps"]) == pytest.approx(std.mean() / np.pi**0.5, rel=0.02)
    assert float(values["squared_error"]) == pytest.approx((std**2).mean(), rel=0.1)
    sure = PredictionSpec(scale="none").evaluate(predicted(mean, std / 3), dataset(test), EvaluationContext())
    assert float(sure["miscalibration"]) > 0.2


def test_errors_are_scaled_and_absent_coordinates_do_not_count():
    test = np.array([[1.0, 5.0], [2.0, 0.0]])
    mean = np.array([[2.0, 5.0], [2.0, 100.0]])
    present = xr.DataArray(
        [[True, True], [True, True], [True, True], [True, False]], dims=("sample", "coordinate")
    )
    data = dataset(test, present=present)
    samples = predicted(mean, np.ones((2, 2)), log_likelihood=("sample", [-1.0, -3.0]))
    values = PredictionSpec(scale="none").evaluate(samples, data, EvaluationContext())
    assert float(values["absolute_error"]) == pytest.approx(1 / 3)
    assert float(values["negative_log_likelihood"]) == 2.0
    scaled = PredictionSpec(scale="max_abs").evaluate(
        predicted(mean[:1], np.ones((1, 2))), dataset(test), EvaluationContext()
    )
    assert float(scaled["absolute_error"]) == pytest.approx(0.5 * 1 / 3)
    assert scaled["absolute_error"].attrs["units"] == "largest values"


def test_the_mean_is_held_against_the_constraint():
    constraint = LinearEquality(torch.ones(1, 2), torch.tensor([3.0]))
    mean = np.array([[1.0, 2.0], [1.0, 3.0]])
    values = PredictionSpec(scale="none").evaluate(
        predicted(mean, np.ones((2, 2))), dataset(mean), EvaluationContext({"c": constraint})
    )
    assert float(values["mean_relative_violation_c"]) == pytest.approx(1 / 7)


def test_real_data_predicts_nothing():
    state = xr.Dataset({"state": (("sample", "coordinate"), np.ones((2, 2)))})
    for spec in (PredictionSpec(), AutoencodingSpec(), ErrorByGroupSpec(variable="group")):
        assert not spec.evaluate(state, dataset(np.ones((2, 2))), EvaluationContext()).data_vars


def test_errors_by_group():
    test = np.array([[1.0, 5.0], [2.0, 0.0]])
    group = xr.DataArray([[0, 0], [0, 0], [0, 1], [1, -1]], dims=("sample", "coordinate"))
    samples = predicted(test + np.array([[1.0, 2.0], [4.0, 9.0]]), np.ones((2, 2)))
    values = ErrorByGroupSpec(variable="group").evaluate(
        samples, dataset(test, group=group), EvaluationContext()
    )
    np.testing.assert_allclose(values["error_by_group"], [1.0, 3.0])
    np.testing.assert_array_equal(values["size_of_group"], [1, 2])


def test_reconstructions():
    test = np.array([[1.0, 5.0], [2.0, 0.0]])
    samples = xr.Dataset(
        {
            "state": (("sample", "coordinate"), test),
            "reconstruction": (("sample", "coordinate"), test + np.array([[1.0, 1.0], [0.0, 2.0]])),
            "elbo": ("sample", [-3.0, -5.0]),
            "log_likelihood": ("sample", [-2.0, -4.0]),
        }
    )
    values = AutoencodingSpec().evaluate(samples, dataset(test), EvaluationContext())
    assert float(values["reconstruction_error"]) == 3.0
    assert (float(values["negative_elbo"]), float(values["negative_log_likelihood"])) == (4.0, 3.0)
