"""A mixture of Gaussians given linear equalities, against its conditional by rejection in a thin tube."""

import numpy as np
import pytest
from pydantic import ValidationError

from plumbline.datasets._exact import Numbers, first_accepted
from plumbline.datasets.gaussian_mixture import GaussianMixtureSpec
from plumbline.metrics import EvaluationContext
from plumbline.metrics.branch_fractions import BranchFractionsSpec

from .exact import SPLITS, assert_moments, assert_same_distribution


@pytest.fixture
def spec():
    return GaussianMixtureSpec(parts=1, splits=SPLITS)


def test_samples_satisfy_the_equalities_to_rounding(spec):
    x = spec.draw_exact(1000, 0)
    assert np.abs(x @ np.array(spec.matrix).T - spec.target).max() < 1e-14
    state = spec.draw_part(0)["state"].values.astype(np.float64)
    residual = np.abs(state @ np.array(spec.matrix).T - spec.target)
    assert residual[:40].min() > 1e-4 and residual[40:].max() < 1e-6


def test_moments_of_both_distributions(spec):
    """Of 200,000 samples each: false alarms, 2e-5."""
    known = spec.known()
    assert_moments(
        spec.draw_exact(200_000, 1), known["conditional_mean"].values, known["conditional_covariance"].values
    )
    free = spec.unconstrained(Numbers(3, np.arange(200_000)))
    mean, covariance = spec.mixture().moments()
    assert np.abs(mean).max() < 1e-12 and np.trace(covariance) == pytest.approx(4)
    assert_moments(free, mean, covariance)


@pytest.mark.parametrize(
    "keys", [{}, {"matrix": ((1.0, 1.0, 0.0, 0.0), (0.0, 1.0, -1.0, 0.5)), "target": (0.6, 0.1)}]
)
def test_the_conditional_is_that_of_rejection_in_a_thin_tube(keys):
    """False alarms: 1e-4. A tube of .01 (.06 for two rows) shifts the distribution by less than a
    hundredth.
    """
    spec = GaussianMixtureSpec(parts=1, splits=SPLITS, **keys)
    width = 0.01 if len(spec.matrix) == 1 else 0.06
    free = spec.unconstrained(Numbers(9, np.arange(2_000_000)))
    near = np.abs(free @ np.array(spec.matrix).T - spec.target).max(1) < width
    assert near.sum() > 3000
    assert_same_distribution(free[near], spec.draw_exact(20_000, 0))


def test_the_default_weights_are_the_published_ones_of_the_issue(spec):
    """Exact values by the density of N(k; A m, A S A^T), written out for one equality."""
    mixture = spec.mixture()
    row = np.array(spec.matrix)[0]
    variance = np.einsum("i,kij,j->k", row, mixture.covariances, row)
    density = np.exp(-((0.6 - mixture.means @ row) ** 2) / (2 * variance)) / np.sqrt(variance)
    expected = mixture.weights * density / (mixture.weights @ density)
    np.testing.assert_allclose(spec.known()["branch_fractions"], expected, rtol=1e-12)
    assert expected.round(3).tolist() == [0.907, 0.006, 0.087]


def test_the_branches_of_exact_samples(spec):
    """The probabilities of components average to their weights: 5 standard errors of 50,000 samples."""
    import xarray as xr

    state = spec.draw_exact(50_000, 0)
    samples = xr.Dataset({"state": (("sample", "coordinate"), state)})
    known = spec.known().assign(state=samples["state"])
    found = BranchFractionsSpec().evaluate(samples, known, EvaluationContext())
    expected = known["branch_fractions"].values
    allowed = 5 * np.sqrt(expected * (1 - expected) / 50_000)
    assert (np.abs(found["branch_fraction"] - expected) < allowed).all()
    assert float(found["branch_distance"]) == pytest.approx(
        0.5 * np.abs(found["branch_fraction"] - expected).sum()
    )


def test_any_number_of_parts_gives_the_same_samples(spec):
    parts = [spec.model_copy(update={"parts": 5}).draw_part(i)["state"].values for i in range(5)]
    np.testing.assert_array_equal(np.concatenate(parts), spec.draw_part(0)["state"].values)
    other = spec.model_copy(update={"seed": 1})
    assert not np.allclose(other.draw_part(0)["state"], spec.draw_part(0)["state"])
    assert not np.allclose(spec.draw_exact(8, 0), spec.draw_exact(8, 1))
    assert not np.allclose(spec.draw_exact(8, 0), spec.draw_part(0)["state"][40:48])


def test_rejection_draws_the_same_samples_in_any_part():
    """A uniform number below .02 in the first accepted of many proposals: uniform again, for each sample."""

    def propose(uniform):
        return uniform, uniform[:, 0] < 0.02

    drawn = first_accepted(Numbers(0, np.arange(4000)), 1, propose, tries=8, stream=0)[:, 0] / 0.02
    assert_same_distribution(drawn[:, None], np.random.default_rng(0).random((4000, 1)))
    some = first_accepted(Numbers(0, np.arange(100, 200)), 1, propose, tries=8, stream=0)[:, 0] / 0.02
    np.testing.assert_array_equal(some, drawn[100:200])


@pytest.mark.rejects
@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"target": (1.0, 2.0)}, "`target` has 2 numbers"),
        ({"matrix": ((1.0, 0.0), (1.0,)), "target": (0, 0)}, "the same length"),
        ({"matrix": ((1.0, 0.0), (0.0, 1.0)), "target": (0, 0)}, "leave no freedom"),
        ({"matrix": ((1.0, 0.0, 0.0), (2.0, 0.0, 0.0)), "target": (0, 0)}, "depend on each other"),
    ],
)
def test_what_leaves_no_problem_is_refused(keys, message):
    with pytest.raises(ValidationError, match=message):
        GaussianMixtureSpec(parts=1, splits=SPLITS, **keys)


@pytest.mark.rejects
def test_an_event_that_never_happens_is_refused(monkeypatch):
    monkeypatch.setattr("plumbline.datasets._exact.LARGEST_ROUNDS", 3)
    never = lambda uniform: (uniform, np.zeros(len(uniform), bool))  # noqa: E731
    with pytest.raises(ValueError, match="accepted none of 12 proposals for 5 samples"):
        first_accepted(Numbers(0, np.arange(5)), 1, never, tries=4, stream=0)
