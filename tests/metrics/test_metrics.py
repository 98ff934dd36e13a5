"""Every metric on a case with a known answer."""

import numpy as np
import pytest
import torch
import xarray as xr

from plumbline.constraints._linear_equality import LinearEquality
from plumbline.datasets.mixture import MixtureSpec
from plumbline.metrics import EvaluationContext, MetricSpec
from plumbline.metrics._pairs import Pairs
from plumbline.metrics.conditional_gaussian import ConditionalGaussianSpec, gaussian_wasserstein
from plumbline.metrics.constraint_distance import ConstraintDistanceSpec
from plumbline.metrics.energy_spectrum import EnergySpectrumSpec, energy_spectrum
from plumbline.metrics.equivalent_noise import EquivalentNoiseSpec
from plumbline.metrics.log_density import LogDensitySpec
from plumbline.metrics.marginal_wasserstein import MarginalWassersteinSpec
from plumbline.metrics.memorisation import MemorisationSpec
from plumbline.metrics.mmd import MMDSpec, maximum_mean_discrepancy
from plumbline.metrics.precision_recall import PrecisionRecallSpec
from plumbline.metrics.sliced_wasserstein import SlicedWassersteinSpec, sliced_wasserstein


def table(values: np.ndarray, split: str | None = None) -> xr.Dataset:
    data = xr.Dataset(
        {"state": (("sample", "species"), values)}, coords={"species": np.arange(values.shape[1])}
    )
    return data.assign_coords(split=("sample", [split] * len(values))) if split else data


def dataset(train: np.ndarray, test: np.ndarray) -> xr.Dataset:
    return xr.concat([table(train, "train"), table(test, "test")], dim="sample")


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    return dataset(rng.standard_normal((400, 3)), rng.standard_normal((200, 3)))


def evaluate(spec, samples, data, constraints=None):
    return spec.evaluate(samples, data, EvaluationContext(constraints or {}))


def test_constraint_distance():
    constraint = LinearEquality(torch.ones(1, 2), torch.tensor([1.0]))
    samples = table(np.array([[0.5, 0.5], [1.0, 1.0], [0.0, 0.0]]))
    found = evaluate(ConstraintDistanceSpec(), samples, samples, {"total": constraint})
    np.testing.assert_allclose(found["distance_total_each"], [0.0, 1.0, 1.0])
    assert found["distance_total"] == pytest.approx(2 / 3)
    assert found["relative_violation_total"] == pytest.approx(1.0)  # |0 - 1| over |0| + |1|
    assert found["feasible_total"] == pytest.approx(1 / 3)


@pytest.mark.parametrize("noise", [0.3, 0.01])
def test_noise_is_equivalent_to_itself(noise):
    """Feasible data with noise of s standard deviations has the equivalent noise s.

    A mean over 2,000 samples has a relative standard error of 1.7%, a ratio of two 2.4%: 10% is a false alarm
    in 30,000 runs.
    """
    rng = np.random.default_rng(1)
    free = rng.standard_normal((4000, 1))
    data = dataset(np.hstack([free, 1 - free])[:2000], np.hstack([free, 1 - free])[2000:])
    constraint = LinearEquality(torch.ones(1, 2), torch.tensor([1.0]))
    noisy = data["state"].values[2000:] + noise * rng.standard_normal((2000, 2))
    found = evaluate(EquivalentNoiseSpec(), table(noisy), data, {"total": constraint})
    assert float(found["equivalent_noise_total"]) == pytest.approx(noise, rel=0.1)


def test_sliced_wasserstein_of_a_shift(data):
    """A shift d moves each projection by d . direction.

    The root mean square over the sphere is |d| / sqrt(n).
    """
    test = data["state"].values[400:]
    scale = data["state"].values[:400].std(0)
    shift = np.array([3.0, 0.0, 0.0])
    found = evaluate(SlicedWassersteinSpec(directions=4000), table(test + shift), data)["sliced_wasserstein"]
    assert float(found) == pytest.approx(3.0 / scale[0] / np.sqrt(3), rel=0.05)
    assert float(evaluate(SlicedWassersteinSpec(), table(test), data)["sliced_wasserstein"]) < 1e-12


def test_sliced_wasserstein_is_that_of_pot():
    from ot.sliced import sliced_wasserstein_distance

    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((300, 7)), 0.3 + rng.standard_normal((300, 7)) ** 3
    theirs = sliced_wasserstein_distance(x, y, n_projections=50, seed=0)
    assert sliced_wasserstein(x, y, 50) == pytest.approx(theirs, rel=1e-12)


def test_mmd_of_point_masses():
    """Two point masses at distance r: MMD^2 = 2 - 2 mean of exp(-r^2 / 2 h^2) over the bandwidths h."""
    y = np.array([[0.0], [2.0]])  # median distance 2
    x = np.full((5, 1), 10.0)

    def kernel(r):
        return np.mean([np.exp(-(r**2) / (2 * (c * 2) ** 2)) for c in (0.5, 1.0, 2.0)])

    exact = 1 + 0.5 * (1 + kernel(2)) - (kernel(10) + kernel(8))
    assert maximum_mean_discrepancy(Pairs.of(x, y)) == pytest.approx(np.sqrt(exact))


def test_mmd_is_zero_for_the_same_samples(data):
    assert float(evaluate(MMDSpec(), table(data["state"].values[400:]), data)["mmd"]) < 1e-7


def test_marginal_wasserstein_of_a_shift(data):
    scale = data["state"].values[:400].std(0)
    samples = table(data["state"].values[400:] + np.array([1.0, 0.0, -2.0]))
    found = evaluate(MarginalWassersteinSpec(), samples, data)
    np.testing.assert_allclose(
        found["marginal_wasserstein_by"], np.array([1.0, 0.0, 2.0]) / scale, atol=1e-12
    )
    assert float(found["marginal_wasserstein"]) == pytest.approx(
        float(found["marginal_wasserstein_by"].mean())
    )


def test_memorisation_tells_copies(data):
    copies = table(data["state"].values[:100])
    assert float(evaluate(MemorisationSpec(), copies, data)["memorisation"]) < 1e-6
    fresh = table(np.random.default_rng(9).standard_normal((200, 3)))
    assert 0.8 < float(evaluate(MemorisationSpec(), fresh, data)["memorisation"]) < 1.25


def test_precision_and_recall_tell_collapse_from_bad_samples(data):
    test = data["state"].values[400:]
    same = evaluate(PrecisionRecallSpec(), table(test), data)
    assert float(same["precision"]) == float(same["recall"]) == 1.0
    far = evaluate(PrecisionRecallSpec(), table(test + 100), data)
    assert float(far["precision"]) == float(far["recall"]) == 0.0
    collapsed = evaluate(PrecisionRecallSpec(), table(np.tile(test[:1], (200, 1))), data)
    assert float(collapsed["precision"]) == 1.0
    assert float(collapsed["recall"]) < 0.05


def test_spectrum_of_a_sine():
    x = np.arange(32) * 2 * np.pi / 32
    field = 2 * np.sin(3 * x)[None, None, :]
    found = energy_spectrum(field, 1)
    assert found[2] == pytest.approx(1.0)  # |modes|^2 = (amplitude / 2)^2
    assert np.delete(found, 2).max() < 1e-25
    plane = np.broadcast_to(np.sin(3 * x)[:, None] * np.ones(32), (1, 32, 32))
    assert energy_spectrum(plane, 2)[2] == pytest.approx(0.5)  # mean of sin^2, by Parseval


def test_energy_spectrum_error_of_a_factor_ten():
    rng = np.random.default_rng(0)
    field = rng.standard_normal((20, 4, 16)).astype(np.float32)
    coords = {"x": ("x", np.arange(16.0), {"period": 16.0}), "split": ("sample", ["test"] * 20)}
    data = xr.Dataset({"state": (("sample", "time", "x"), field)}, coords=coords)
    samples = xr.Dataset({"state": (("sample", "time", "x"), field * np.sqrt(10.0))})
    assert float(evaluate(EnergySpectrumSpec(), samples, data)["energy_spectrum"]) == pytest.approx(
        1.0, rel=1e-5
    )
    with pytest.raises(ValueError, match="periodic"):
        evaluate(EnergySpectrumSpec(), samples, table(field[:, 0], "test"))


def test_gaussian_wasserstein_closed_form():
    """Commuting covariances: |m - m0|^2 + sum of squared differences of standard deviations."""
    a, b = np.diag([4.0, 9.0]), np.diag([1.0, 1.0])
    exact = np.sqrt(25 + 1 + 4)
    assert gaussian_wasserstein(np.array([3.0, 4.0]), a, np.zeros(2), b) == pytest.approx(exact)
    singular = np.diag([1.0, 0.0])
    assert gaussian_wasserstein(np.zeros(2), singular, np.zeros(2), singular) == pytest.approx(0.0, abs=1e-7)


def test_conditional_gaussian_needs_its_dataset(data):
    with pytest.raises(ValueError, match="`gaussian`"):
        evaluate(ConditionalGaussianSpec(), table(np.zeros((4, 3))), data)


def test_more_samples_than_the_test_split_are_refused(data):
    with pytest.raises(ValueError, match="test split has 200 samples, fewer than the 201"):
        evaluate(MMDSpec(), table(np.zeros((201, 3))), data)


def test_log_densities_and_the_least_of_them():
    splits = {"train": 2, "validation": 2, "test": 2}
    near, far = (MixtureSpec(means=[[m, 0.0]], stds=[1.0], parts=1, splits=splits) for m in (0.0, 3.0))
    points = xr.Dataset({"state": (("sample", "coordinate"), np.zeros((4, 2)))})
    values = LogDensitySpec(under={"near": near, "far": far}).evaluate(
        points, xr.Dataset(), EvaluationContext()
    )
    peak = -np.log(2 * np.pi)
    assert float(values["log_density_near"]) == pytest.approx(peak)
    assert float(values["log_density_far"]) == pytest.approx(peak - 4.5)
    assert float(values["least_log_density"]) == float(values["log_density_far"])


@pytest.mark.parametrize("metric", [MMDSpec(), PrecisionRecallSpec(), PrecisionRecallSpec(neighbours=1)])
def test_distances_that_are_taken_once_give_the_numbers_of_the_rest(data, metric):
    samples = table(data["state"].values[:200] + 0.1)
    left_out = np.arange(3, 200, 10)
    test = np.flatnonzero(data["split"].values == "test")
    rest = data.isel(sample=np.delete(np.arange(data.sizes["sample"]), test[left_out]))
    arguments = (left_out, xr.Dataset(), samples, rest, EvaluationContext())
    found = metric.without(*arguments, metric.pairs(samples, data, EvaluationContext()))
    assert found == pytest.approx(MetricSpec.without(metric, *arguments, None), rel=1e-9)


def test_distances_are_taken_once_for_all_metrics_and_for_each_set_of_samples_anew(data):
    context = EvaluationContext()
    samples, others = table(data["state"].values[:200] + 0.1), table(data["state"].values[:200] + 5.0)
    taken = context.pairs(samples, data)
    assert context.pairs(samples, data) is taken
    assert context.pairs(others, data).between.nearest(0).min() > taken.between.nearest(0).min()
