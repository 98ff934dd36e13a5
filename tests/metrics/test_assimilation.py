"""Ensembles of posterior samples compared with known properties of calibrated ensembles."""

import math

import numpy as np
import pytest
import xarray as xr

from plumbline.metrics import EvaluationContext
from plumbline.metrics.assimilation import AssimilationSpec, crps
from plumbline.metrics.conditional_error import ConditionalErrorSpec

CASES, MEMBERS, NUMBERS = 200, 8, 40


def ensemble(spread: float, seed: int = 0) -> xr.Dataset:
    """Truths and samples around a common centre per case: calibrated for a spread of one."""
    rng = np.random.default_rng(seed)
    centre = 3 * rng.standard_normal((CASES, 1, NUMBERS))
    truth = centre + rng.standard_normal((CASES, 1, NUMBERS))
    draws = centre + spread * rng.standard_normal((CASES, MEMBERS, NUMBERS))
    flat = CASES * MEMBERS
    return xr.Dataset(
        {
            "state": (("sample", "coordinate"), draws.reshape(flat, NUMBERS), {"units": "m"}),
            "truth": (("sample", "coordinate"), np.broadcast_to(truth, draws.shape).reshape(flat, NUMBERS)),
            "case": ("sample", np.repeat(np.arange(CASES), MEMBERS)),
            "misfit": ("sample", np.ones(flat)),
        }
    )


def test_crps_is_that_of_its_definition_and_of_a_normal_law():
    rng = np.random.default_rng(0)
    draws, truth = rng.standard_normal((5, 6, 7)), rng.standard_normal((5, 7))
    pairs = np.abs(draws[:, :, None] - draws[:, None]).sum((1, 2)) / (6 * 5)
    expected = (np.abs(draws - truth[:, None]).mean(1) - pairs / 2).mean()
    assert crps(draws, truth) == pytest.approx(expected, rel=1e-12)
    # E CRPS of N(0, 1) for a truth from N(0, 1) is 1 / sqrt(pi); 20,000 truths leave an error of 1%.
    many = crps(rng.standard_normal((20_000, 20, 1)), rng.standard_normal((20_000, 1)))
    assert many == pytest.approx(1 / math.sqrt(math.pi), rel=0.05)


def test_a_calibrated_ensemble_has_flat_ranks_and_as_much_spread_as_error():
    values = AssimilationSpec().evaluate(ensemble(1.0), xr.Dataset(), EvaluationContext())
    # 8,000 ranks: a fraction of 1/9 has a standard error of .0035.
    np.testing.assert_allclose(values["rank_histogram"], 1 / 9, atol=5 * 0.0035)
    assert float(values["error_of_draw"]) == pytest.approx(math.sqrt(2), rel=0.03)
    assert float(values["error_of_mean"]) == pytest.approx(math.sqrt(1 + 1 / MEMBERS), rel=0.04)
    assert values["error_of_mean"].attrs["units"] == "m"


@pytest.mark.parametrize("spread", [0.2, 4.0])
def test_ensembles_too_narrow_or_too_wide_are_seen(spread):
    calibrated, other = (
        AssimilationSpec().evaluate(ensemble(s), xr.Dataset(), EvaluationContext()) for s in (1.0, spread)
    )
    assert float(other["rank_unevenness"]) > 5 * float(calibrated["rank_unevenness"])
    assert float(other["ensemble_crps"]) > 1.1 * float(calibrated["ensemble_crps"])


def test_samples_without_a_truth_are_not_judged():
    assert (
        not AssimilationSpec()
        .evaluate(xr.Dataset({"state": ("sample", [1.0])}), xr.Dataset(), EvaluationContext())
        .data_vars
    )


def test_errors_for_the_condition_of_each_test_sample():
    """Ensembles of known bias and spread; a truth of zero has no relative error; real data has no cases."""
    generator = np.random.default_rng(0)
    truth = generator.standard_normal((200, 30)).astype(np.float32)
    truth[0] = 0.0
    data = xr.Dataset(
        {"state": (("sample", "x"), np.concatenate([np.full((2, 30), 9.0), truth]), {"units": "m"})},
        coords={"split": ("sample", ["train"] * 2 + ["test"] * 200)},
    )
    draws = truth[:100, None] * 1.1 + 0.5 * generator.standard_normal((100, 40, 30))
    samples = xr.Dataset(
        {
            "state": (("sample", "x"), draws.reshape(4000, 30)),
            "case": ("sample", np.repeat(np.arange(100), 40)),
        }
    )
    found = ConditionalErrorSpec().evaluate(samples, data, EvaluationContext())
    assert float(found["case_spread"]) == pytest.approx(0.5, rel=0.02)
    assert float(found["case_error"]) == pytest.approx(np.hypot(0.1, 0.5 / np.sqrt(40)), rel=0.05)
    assert float(found["relative_error"]) == pytest.approx(np.hypot(0.1, 0.5 / np.sqrt(40)), rel=0.05)
    assert float(found["draw_error"]) == pytest.approx(np.hypot(0.1, 0.5), rel=0.02)
    assert found["case_crps"].attrs["units"] == "m"
    # With samples left out, the others are still compared with their own test samples.
    rest = data.isel(sample=np.delete(np.arange(202), 2 + np.arange(10)))
    kept = samples.isel(sample=np.arange(400, 4000))
    again = ConditionalErrorSpec().evaluate(kept, rest, EvaluationContext())
    assert float(again["draw_error"]) == pytest.approx(float(found["draw_error"]), rel=0.05)
    one = ConditionalErrorSpec().evaluate(
        samples.isel(sample=slice(None, None, 40)), data, EvaluationContext()
    )
    assert "case_crps" not in one and "draw_error" in one
    assert not ConditionalErrorSpec().evaluate(samples.drop_vars("case"), data, EvaluationContext())
