"""The problem of a study in NumPy: exact samples, scores, residuals and projections."""

import numpy as np
import pytest

import plumbline


@pytest.fixture(scope="module")
def gaussian():
    return plumbline.task("gaussian", scale="smoke")


def test_the_parts_of_a_problem(gaussian):
    assert gaussian.train.shape == (256, 8) and gaussian.validation.shape == gaussian.test.shape == (64, 8)
    assert gaussian.conditions() is None
    matrix, target = (gaussian.dataset[name].values for name in ("matrix", "target"))
    residual = gaussian.residuals(gaussian.test.astype(float) + 1)["equalities"]
    np.testing.assert_allclose(residual, (gaussian.test.astype(float) + 1) @ matrix.T - target, atol=1e-10)
    feasible = gaussian.project(gaussian.test + 1, "equalities")
    np.testing.assert_allclose(feasible @ matrix.T, np.broadcast_to(target, (64, 2)), atol=1e-10)


def test_exact_samples_follow_the_conditional_distribution(gaussian):
    """Moments of 100,000 samples: z-tests at 5 standard errors (false alarms: 1e-5)."""
    exact = gaussian.exact(100_000)
    mean, covariance = (gaussian.dataset[f"conditional_{name}"].values for name in ("mean", "covariance"))
    variance = covariance.diagonal()
    assert (np.abs(exact.mean(0) - mean) < 5 * np.sqrt(variance / 1e5)).all()
    assert (np.abs(exact.var(0) / variance - 1) < 5 * np.sqrt(2 / 1e5)).all()
    assert not np.array_equal(exact[:5], gaussian.exact(5, seed=1))


def test_exact_samples_score_better_than_training_samples(gaussian):
    """Training samples are not conditioned: they violate the equalities and have other moments."""
    exact, free = gaussian.score(gaussian.exact(64)), gaussian.score(gaussian.train[:64])
    for name in ("distance_equalities", "conditional_gaussian", "sliced_wasserstein"):
        assert exact[name] < 0.7 * free[name]


def test_scores_are_those_of_the_workflow(gaussian, tmp_path):
    study = gaussian.study.model_copy(update={"methods": {"ddim": gaussian.study.methods["ddim"]}})
    results = plumbline.run(study, results=tmp_path / "results")
    scores = gaussian.score(results.samples("ddim")["state"].values)
    found = results.comparison.sel(methods="ddim", seed=0)
    assert {name: scores[name] for name in scores} == {
        name: pytest.approx(float(found[name])) for name in scores
    }


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.zeros((4, 7)), r"between 2 and 64 samples of shape \(8,\), found an array of shape \(4, 7\)"),
        (np.zeros((65, 8)), "between 2 and 64"),
        (np.full((4, 8), np.nan), "finite real numbers"),
    ],
)
def test_what_cannot_be_scored_is_refused(gaussian, samples, message):
    with pytest.raises(ValueError, match=message):
        gaussian.score(samples)


def test_what_is_not_known_is_said(gaussian):
    with pytest.raises(ValueError, match="there is no constraint 'sum'; available: equalities"):
        gaussian.project(gaussian.test, "sum")
    with pytest.raises(ValueError, match="the exact distribution of a dataset `combustion` is not known"):
        plumbline.task("combustion", scale="smoke").exact(3)


def test_a_mixture_has_exact_samples():
    """Fractions of two components of 40,000 samples, of weights 1 and 3: within 5 standard errors."""
    from plumbline.datasets import MixtureSpec

    spec = MixtureSpec(
        means=((0.0, 0.0), (9.0, 9.0)),
        stds=(0.5, 1.0),
        weights=(1.0, 3.0),
        splits={"train": 2, "validation": 2, "test": 2},
    )
    exact = spec.draw_exact(40_000, 0)
    assert abs((exact[:, 0] > 4.5).mean() - 0.75) < 5 * np.sqrt(0.75 * 0.25 / 40_000)
