"""Metrics of exact conditional distributions, each on a case with a known answer, and their floors."""

import numpy as np
import pytest
import xarray as xr
from scipy.spatial.distance import cdist

from plumbline.metrics import EvaluationContext, _pairs, standardised
from plumbline.metrics._pairs import Pairs
from plumbline.metrics._splits import with_training_scale
from plumbline.metrics.branch_fractions import BranchFractionsSpec
from plumbline.metrics.c2st import C2STSpec
from plumbline.metrics.conditional_gaussian import ConditionalGaussianSpec
from plumbline.metrics.energy_distance import EnergyDistanceSpec
from plumbline.metrics.moment_errors import MomentErrorsSpec
from plumbline.metrics.variance_ratio import VarianceRatioSpec


def samples_of(x, **variables) -> xr.Dataset:
    dims = ("sample", "x", "y")[: x.ndim]
    return xr.Dataset({"state": (dims, x), **variables})


def dataset(train, test, **variables) -> xr.Dataset:
    split = np.repeat(["train", "test"], [len(train), len(test)])
    return samples_of(np.concatenate([train, test]), **variables).assign_coords(split=("sample", split))


def evaluate(metric, samples, data) -> dict[str, float]:
    found = metric.evaluate(samples, data, EvaluationContext())
    return {str(name): float(v) for name, v in found.items() if not v.ndim}


RNG = np.random.default_rng(0)
TRAIN, TEST, SAME = (RNG.standard_normal((n, 3)) for n in (500, 400, 400))


def test_energy_distance_is_the_double_sum_over_different_samples():
    x, y = TEST[:50] + 0.3, SAME[:50]
    scale = TRAIN.std(0)
    u, v = x / scale, y / scale
    within = [cdist(z, z).sum() / (50 * 49) for z in (u, v)]
    expected = 2 * cdist(u, v).mean() - sum(within)
    found = evaluate(EnergyDistanceSpec(), samples_of(x), dataset(TRAIN, y))
    assert found["energy_distance"] == pytest.approx(expected, rel=1e-12)


def test_energy_distance_of_two_points_far_apart():
    """All x in one point and all y in another, at the distance d: 2 d."""
    pairs = Pairs.of(np.zeros((4, 1)), np.full((4, 1), 3.0))
    assert EnergyDistanceSpec().values(pairs)["energy_distance"] == pytest.approx(6.0)


def test_energy_distance_is_unbiased_and_the_same_in_blocks(monkeypatch):
    """The mean over 400 pairs of equal distributions is zero within 5 standard errors (false alarms 6e-7)."""
    rng = np.random.default_rng(1)
    values = [
        EnergyDistanceSpec().values(Pairs.of(rng.standard_normal((20, 2)), rng.standard_normal((20, 2))))
        for _ in range(400)
    ]
    found = np.array([v["energy_distance"] for v in values])
    assert abs(found.mean()) < 5 * found.std() / 20 and (found < 0).mean() > 0.3
    whole = EnergyDistanceSpec().values(Pairs.of(TEST, SAME))
    monkeypatch.setattr(_pairs, "KEPT", 0)
    monkeypatch.setattr(_pairs, "BLOCK", 1000)
    assert EnergyDistanceSpec().values(Pairs.of(TEST, SAME)) == pytest.approx(whole, rel=1e-10)


def test_moment_errors_of_a_shift_and_a_stretch():
    """Against the test split: x = 2 y + b has the errors b^2 + m^2 + 2 b m and s^2."""
    data = dataset(TRAIN, TEST)
    mean, std = TEST.mean(0), TEST.std(0, ddof=1)
    shift = np.array([1.0, 0.0, -2.0])
    found = evaluate(MomentErrorsSpec(), samples_of(2 * TEST + shift), data)
    assert found["mean_mse"] == pytest.approx(((mean + shift) ** 2).mean())
    assert found["std_mse"] == pytest.approx((std**2).mean())


def test_moment_errors_use_the_stored_moments_of_a_field():
    x = RNG.standard_normal((300, 2, 4))
    mean, variances = RNG.standard_normal((2, 4)), RNG.random(8)
    data = dataset(x, x).assign(
        conditional_mean=(("x", "y"), mean), conditional_covariance=(("entry", "other"), np.diag(variances))
    )
    found = evaluate(MomentErrorsSpec(), samples_of(x), data)
    assert found["mean_mse"] == pytest.approx(((x.mean(0) - mean) ** 2).mean())
    spread = x.std(0, ddof=1).ravel() - np.sqrt(variances)
    assert found["std_mse"] == pytest.approx((spread**2).mean())
    assert evaluate(ConditionalGaussianSpec(), samples_of(x), data)["conditional_gaussian"] > 0


def line(count, seed, *, across=0.0, along=1.0):
    """Points on x1 + x2 = 1, with a variance along it of 2 x `along`^2 and noise across it."""
    z = np.random.default_rng(seed).standard_normal((count, 2))
    tangent, normal = np.array([1.0, -1.0]), np.array([1.0, 1.0]) / np.sqrt(2)
    return np.array([0.5, 0.5]) + along * z[:, :1] * tangent + across * z[:, 1:] * normal


def test_variances_along_and_across_a_line():
    """Ratios of 20,000 samples have standard errors of 1%: bounds of 5% are false alarms in 1e6 runs."""
    free = np.random.default_rng(2).standard_normal((20_000, 2)) * 3
    exact = {"conditional_covariance": (("x", "other"), 2.0 * np.array([[0.5, -0.5], [-0.5, 0.5]]))}
    for stored in ({}, exact):
        data = dataset(free, line(20_000, 0)).assign(stored)
        found = evaluate(VarianceRatioSpec(), samples_of(line(20_000, 1, along=0.5, across=0.6)), data)
        assert found["variance_along"] == pytest.approx(0.25, rel=0.05)
        assert found["variance_along_error"] == pytest.approx(np.log(4), abs=0.05)
        assert found["variance_across"] == pytest.approx(0.04, rel=0.05)
        floor = evaluate(VarianceRatioSpec(), samples_of(line(20_000, 2).astype(np.float32)), data)
        assert floor["variance_along"] == pytest.approx(1, rel=0.05) and floor["variance_across"] < 1e-10


def test_a_curved_set_has_no_directions_across():
    angle = RNG.random(500) * 2 * np.pi
    circle = np.stack([np.cos(angle), np.sin(angle)], 1)
    assert set(evaluate(VarianceRatioSpec(), samples_of(circle), dataset(TRAIN[:, :2], circle))) == {
        "variance_along",
        "variance_along_error",
    }


@pytest.mark.parametrize("classifier", ["network", "neighbours"])
def test_c2st_is_chance_for_equal_distributions_and_certain_for_distinct_ones(classifier):
    """400 held-out samples in 4 divisions: a standard error of at most .025, and bounds of 5 of them."""
    metric = C2STSpec(classifier=classifier)
    data = dataset(TRAIN, TEST)
    assert evaluate(metric, samples_of(SAME), data)["c2st"] == pytest.approx(0.5, abs=0.125)
    assert evaluate(metric, samples_of(SAME + 10), data)["c2st"] > 0.99


@pytest.mark.parametrize("classifier", ["network", "neighbours"])
def test_c2st_is_the_bayes_accuracy_of_a_shift(classifier):
    """Normals at the distance 2 are told apart with the accuracy Phi(1) = .841; a standard error is .008."""
    rng = np.random.default_rng(3)
    x, y = rng.standard_normal((2000, 2)), rng.standard_normal((2000, 2))
    found = evaluate(C2STSpec(classifier=classifier), samples_of(x + np.array([2.0, 0.0])), dataset(y, y))
    assert found["c2st"] == pytest.approx(0.841, abs=0.04)


def test_branches_between_planes():
    """Two signs, four branches: the first plane counts most."""
    x = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 2.0], [3.0, 3.0]])
    data = dataset(x, x).assign(
        branch_normals=(("plane", "x"), np.eye(2)),
        branch_offsets=(("plane",), np.zeros(2)),
        branch_fractions=(("branch",), [0.0, 0.25, 0.25, 0.5]),
    )
    found = BranchFractionsSpec().evaluate(samples_of(x), data, EvaluationContext())
    assert found["branch_fraction"].values.tolist() == [0.0, 0.25, 0.25, 0.5]
    assert float(found["branch_distance"]) == 0
    skewed = BranchFractionsSpec().evaluate(samples_of(x[:2]), data, EvaluationContext())
    assert float(skewed["branch_distance"]) == pytest.approx(0.25)


@pytest.mark.rejects
def test_datasets_without_what_a_metric_needs_are_refused():
    with pytest.raises(ValueError, match="has no `branch_fractions`"):
        BranchFractionsSpec().evaluate(samples_of(TEST), dataset(TRAIN, TEST), EvaluationContext())
    with pytest.raises(ValueError, match="has no `conditional_mean`"):
        ConditionalGaussianSpec().evaluate(samples_of(TEST), dataset(TRAIN, TEST), EvaluationContext())


def test_fields_of_different_units_count_alike():
    """Each field has its own scale; with one unit for both, the larger numbers would decide."""
    large = np.array([1e3, 1e-2])[:, None, None]
    rng = np.random.default_rng(3)
    train, test, x = (large * rng.standard_normal((200, 2, 3, 3)) for _ in range(3))
    split = np.repeat(["train", "test"], 200)
    dims = ("sample", "field", "x", "y")
    one_unit = xr.Dataset(
        {"state": (dims, np.concatenate([train, test]))}, coords={"split": ("sample", split)}
    )
    data = one_unit.assign_coords(units=("field", ["m", "K"]))
    scale = np.broadcast_to(train.std((0, 2, 3))[:, None, None], (2, 3, 3))
    samples = xr.Dataset({"state": (dims, x)})
    drawn, reference = standardised(samples, data, "test")
    np.testing.assert_allclose(drawn, (x / scale).reshape(200, -1), rtol=1e-12)
    np.testing.assert_allclose(reference, (test / scale).reshape(200, -1), rtol=1e-12)
    # Known beforehand, as in a job of the workflow.
    again, _ = standardised(samples, with_training_scale(data), "test")
    np.testing.assert_array_equal(again, drawn)
    found = evaluate(MomentErrorsSpec(), samples, data)
    expected = ((x.mean(0) - test.mean(0)) / scale) ** 2
    assert found["mean_mse"] == pytest.approx(expected.mean())
    unit = MomentErrorsSpec().evaluate(samples, data, EvaluationContext())["mean_mse"].attrs["units"]
    assert unit == "(standard deviations)^2"
    for same in (one_unit, one_unit.assign_coords(units=("field", ["m", "m"]))):
        drawn, _ = standardised(samples, same, "test")
        np.testing.assert_allclose(drawn, x.reshape(200, -1) / train.std(), rtol=1e-12)
