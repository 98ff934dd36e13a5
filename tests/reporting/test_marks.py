"""The rule of marking keeps its promise: how often it finds differences that are not there, and misses ones that are."""

import numpy as np
import pytest

from plumbline.reporting.marks import Values, half_interval, marked, worse

METHODS, GROUPS = 6, 10


def drawn(generator, seeds, means, cases=1.0, own=0.5, groups=GROUPS):
    """Metrics that are means over cases that all methods share, with noise of each method and seed.

    Of n cases a mean has the variance 1 / n; the replicates leave out a tenth of the cases each.
    """
    n = 200
    shared = generator.standard_normal(n) * cases
    own_noise = own * generator.standard_normal((len(means), seeds, n))
    values = np.asarray(means)[:, None, None] + shared + own_noise
    keep = ~(np.arange(n) % groups == np.arange(groups)[:, None])
    replicates = np.stack([values[..., k].mean(-1) for k in keep], -1)
    return Values(values.mean(-1), replicates, True, np.zeros((len(means),) * 2, bool))


@pytest.mark.parametrize("seeds", [1, 2, 3])
def test_false_differences_are_rarer_than_promised(seeds):
    """Six equal methods, 400 tables: 5% may have a false difference. More than 33 have one in a thousandth of such tests."""
    generator = np.random.default_rng(seeds)
    false = sum(marked(drawn(generator, seeds, [0.0] * METHODS))[1] for _ in range(400))
    assert false <= 33


@pytest.mark.parametrize("seeds", [1, 3])
def test_the_best_is_seldom_left_without_a_mark(seeds):
    """Three methods are equally good and three worse: each of the three is unmarked in 5% of 400 tables at most."""
    generator = np.random.default_rng(10 + seeds)
    means = [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]
    found = [marked(drawn(generator, seeds, means)) for _ in range(400)]
    assert sum(apart for _, apart in found) > 350
    unmarked = np.sum([~marks[:3] for marks, apart in found if apart], axis=0)
    assert (unmarked <= 33).all()


@pytest.mark.parametrize("seeds", [1, 3])
def test_a_clear_difference_is_found(seeds):
    """One method of six is better by ten standard errors of a difference: found in nearly all of 100 tables."""
    generator = np.random.default_rng(seeds)
    error = 0.5 * np.sqrt(2 / 200)
    hits = 0
    for _ in range(100):
        marks, apart = marked(drawn(generator, seeds, [0.0] + [10 * error] * (METHODS - 1)))
        hits += apart and marks.tolist() == [True] + [False] * (METHODS - 1)
    assert hits >= 95


def test_the_interval_covers_the_mean_as_often_as_it_says():
    """95% of 400 intervals over test cases; the number that cover is within 4 deviations of that: one false alarm in 16,000."""
    generator = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        values = drawn(generator, 1, [0.0])
        covered += abs(values.seeds[0, 0]) <= half_interval(values.seeds[0], values.replicates[0])
    assert abs(covered / 400 - 0.95) < 4 * np.sqrt(0.95 * 0.05 / 400)


def test_noise_that_methods_share_does_not_hide_a_difference():
    """The cases differ a hundred times more than the methods do, alike for both: the comparison is paired."""
    generator = np.random.default_rng(0)
    assert worse(drawn(generator, 1, [0.0, 0.5], cases=100.0), 1).tolist() == [[False, False], [True, False]]


def test_higher_may_be_better_and_ties_are_ties():
    seeds = np.array([[1.0, 1.01], [2.0, 2.01], [3.0, 3.01]])
    none = np.zeros((3, 2, 0))
    assert marked(Values(seeds, none, False, np.zeros((3, 3), bool)))[0].tolist() == [False, False, True]
    ties = np.zeros((3, 3), bool)
    ties[1:, 1:] = True
    assert marked(Values(seeds, none, False, ties))[0].tolist() == [False, True, True]
    assert not marked(Values(np.full((3, 2), np.nan), none, False, ties))[0].any()
