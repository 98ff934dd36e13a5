"""Error rates of the rule that marks the best methods: false differences and missed ones."""

import numpy as np
import pytest

from plumbline.reporting.marks import Values, half_interval, marked, worse

METHODS, GROUPS = 6, 10


def drawn(generator, seeds, means, cases=1.0, own=0.5, training=0.0, groups=GROUPS):
    """Metrics that are means over cases shared by all methods, with noise per sample and per training.

    The mean over n cases has the variance 1 / n; each replicate leaves out a tenth of the cases.
    """
    n = 200
    shared = generator.standard_normal(n) * cases
    own_noise = own * generator.standard_normal((len(means), seeds, n))
    trained = training * generator.standard_normal((len(means), seeds, 1))
    values = 5 + np.asarray(means)[:, None, None] + shared + own_noise + trained
    keep = ~(np.arange(n) % groups == np.arange(groups)[:, None])
    replicates = np.stack([values[..., k].mean(-1) for k in keep], -1)
    return Values(values.mean(-1), replicates, True, np.zeros((len(means),) * 2, bool))


@pytest.mark.parametrize("training", [0.0, 0.1])
@pytest.mark.parametrize(("methods", "seeds"), [(2, 2), (6, 2), (10, 2), (2, 3), (6, 3), (10, 3)])
def test_false_differences_are_as_rare_as_promised(methods, seeds, training):
    """At most 5% of 400 tables of equal methods differ falsely, even if trainings vary three times as much as
    samples.

    If the level holds, more than 33 differ in one of a thousand such tests.
    """
    generator = np.random.default_rng(seeds)
    tables = (drawn(generator, seeds, [0.0] * methods, training=training) for _ in range(400))
    assert sum(marked(table)[1] for table in tables) <= 33


def test_one_seed_speaks_of_the_weights_that_were_trained():
    """The level holds with respect to test cases alone."""
    generator = np.random.default_rng(1)
    assert sum(marked(drawn(generator, 1, [0.0] * METHODS))[1] for _ in range(400)) <= 33


def test_a_method_that_varies_more_than_others_is_not_taken_for_better():
    """One of six equal methods varies five times as much between trainings."""
    generator = np.random.default_rng(5)
    noise = np.array([1.0] * (METHODS - 1) + [5.0])[:, None] * generator.standard_normal((400, METHODS, 3))
    none = np.zeros((METHODS, 3, 0)), False, np.zeros((METHODS,) * 2, bool)
    assert sum(marked(Values(1.0 + 0.01 * one, *none))[1] for one in noise) <= 60


def test_distances_that_are_decades_apart_are_told_apart():
    """Two seeds; each of four methods varies by a tenth of its own distance."""
    generator = np.random.default_rng(2)
    means = np.array([1e-8, 1e-4, 1e-2, 1.0])
    hits = 0
    for _ in range(100):
        seeds = means[:, None] * np.exp(0.1 * generator.standard_normal((4, 2)))
        marks, _ = marked(Values(seeds, np.zeros((4, 2, 0)), True, np.zeros((4, 4), bool)))
        hits += marks.tolist() == [True, False, False, False]
    assert hits >= 95


@pytest.mark.parametrize("seeds", [1, 3])
def test_the_best_is_seldom_left_without_a_mark(seeds):
    """Of three equally good and three worse methods, each good one is unmarked in at most 5% of tables."""
    generator = np.random.default_rng(10 + seeds)
    means = [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]
    found = [marked(drawn(generator, seeds, means)) for _ in range(400)]
    assert sum(apart for _, apart in found) > 350
    unmarked = np.sum([~marks[:3] for marks, apart in found if apart], axis=0)
    assert (unmarked <= 33).all()


@pytest.mark.parametrize("seeds", [1, 3])
def test_a_clear_difference_is_found(seeds):
    """A method better than five others by ten standard errors is found in nearly all of 100 tables."""
    generator = np.random.default_rng(seeds)
    error = 0.5 * np.sqrt(2 / 200)
    hits = 0
    for _ in range(100):
        marks, apart = marked(drawn(generator, seeds, [0.0] + [10 * error] * (METHODS - 1)))
        hits += apart and marks.tolist() == [True] + [False] * (METHODS - 1)
    assert hits >= 95


def test_the_interval_covers_the_mean_as_often_as_it_says():
    """Intervals of 95% over test cases, 400 of them.

    The number that cover is within 4 stds of 95%: one false alarm in 16,000.
    """
    generator = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        values = drawn(generator, 1, [0.0])
        covered += abs(values.seeds[0, 0] - 5) <= half_interval(values.seeds[0], values.replicates[0])
    assert abs(covered / 400 - 0.95) < 4 * np.sqrt(0.95 * 0.05 / 400)


def test_noise_that_methods_share_does_not_hide_a_difference():
    """Cases differ as much as samples do, equally for both methods: the comparison is paired."""
    generator = np.random.default_rng(0)
    assert worse(drawn(generator, 1, [0.0, 0.5], cases=0.5), 1).tolist() == [[False, False], [True, False]]


def test_higher_may_be_better_and_ties_are_ties():
    seeds = np.array([[1.0, 1.01], [2.0, 2.01], [3.0, 3.01]])
    none = np.zeros((3, 2, 0))
    assert marked(Values(seeds, none, False, np.zeros((3, 3), bool)))[0].tolist() == [False, False, True]
    ties = np.zeros((3, 3), bool)
    ties[1:, 1:] = True
    assert marked(Values(seeds, none, False, ties))[0].tolist() == [False, True, True]
    assert not marked(Values(np.full((3, 2), np.nan), none, False, ties))[0].any()
