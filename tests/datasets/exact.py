"""Comparisons of samples with an independent computation, for the problems with exact distributions."""

import numpy as np
from scipy import stats

SPLITS = {"train": 40, "validation": 8, "test": 8}


def assert_same_distribution(x, y, alarms=1e-4):
    """Two sets of samples (N, n) and (M, n) agree.

    Kolmogorov-Smirnov tests of each coordinate and of as many random projections, after Bonferroni: correct
    code fails with the probability `alarms` for another seed.
    """
    directions = np.random.default_rng(0).standard_normal((x.shape[1], x.shape[1]))
    scale = y.std(0)
    scale = np.where(scale > 1e-9 * scale.max(), scale, 1.0)
    x, y = (np.hstack([z / scale, z / scale @ directions]) for z in (x, y))
    level = alarms / x.shape[1]
    for i in range(x.shape[1]):
        if y[:, i].std() > 1e-6 * np.abs(y[:, i]).max():
            found = stats.ks_2samp(x[:, i], y[:, i]).pvalue
            assert found > level, f"coordinate {i}: p = {found:.2g}"


def assert_moments(x, mean, covariance, errors=5.0):
    """Means and covariances of samples (N, n) are the given ones within `errors` standard errors.

    At 5, a false alarm has the probability 6e-7 for each of the n + n (n + 1) / 2 numbers.
    """
    centred = x - mean
    products = np.einsum("bi,bj->bij", centred, centred)
    rounding = 1e-9 * np.abs(x).max()
    assert (np.abs(centred.mean(0)) < errors * centred.std(0) / np.sqrt(len(x)) + rounding).all()
    allowed = errors * products.std(0) / np.sqrt(len(x)) + rounding
    assert (np.abs(products.mean(0) - covariance) < allowed).all()


def assert_fractions(counts, probabilities, errors=5.0):
    """Observed counts (K,) agree with probabilities (K,) within `errors` standard errors."""
    total = np.sum(counts)
    allowed = errors * np.sqrt(probabilities * (1 - probabilities) / total) + 3.0 / total
    assert (np.abs(counts / total - probabilities) < allowed).all(), (counts / total, probabilities)
