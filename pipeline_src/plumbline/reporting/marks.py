r"""Decides which methods are marked as best in a table, by a statistical test of paired differences.

For two methods a and b, let d_s be how much worse a is than b with seed s, and d the mean over S seeds.
Positive quantities of which lower is better, such as distances, are compared by their logarithms, because
methods whose distances differ by orders of magnitude have similar relative variation. The variance of d has
two parts,

    v = v_seeds + v_cases,    v_seeds = max(2 s^2, s_a^2 + s_b^2) / S,

where v_cases is the jackknife variance over test cases of the mean over seeds, s_a^2 and s_b^2 are the
variances of the two methods over seeds, and s^2 is the mean of such variances over all K methods: two or
three seeds of one method are too few to estimate its own variance. The sampling noise enters both parts, so
that the test is conservative. The statistic d / sqrt(v) approximately follows Student's t distribution with
the degrees of freedom of Welch and Satterthwaite, v^2 / (v_seeds^2 / (K (S - 1)) + v_cases^2 / (G - 1)), but
at most K (S - 1), for G jackknife groups. With a single seed, v has the second part alone: the test then
compares the trained weights, and does not cover the variation over seeds. The test is made at two levels,
with a Bonferroni correction and alpha = 5%:

- **Is there any difference?** Some method must be worse than another at the level alpha / (K (K - 1)), which
  corrects for all ordered pairs of K methods. If all methods of a column are equal, some method is marked
  with a probability of about alpha. Without any difference, the column is "not distinguishable".
- **Which methods may be the best?** A method is marked if no other is better at the level alpha / (K - 1), a
  multiple comparison with the best (Hsu, *The Annals of Statistics* 12, 1984). The truly best method is not
  marked with a probability of about alpha.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

ALPHA = 0.05
"""Significance level: probability of a false statement about a column."""
ROUNDING = 1e-6
"""Relative difference below which two values count as equal."""

RULE = (
    "★: no other method is significantly better, by a t test of paired differences over seeds and groups of "
    "test samples, at a level of 5% corrected for the number of methods. Methods that satisfy a constraint "
    "within its tolerance count as ties in the metrics that measure it. If no two methods differ "
    "significantly, none is marked."
)
"""The rule of marking, as text for the report."""


@dataclass(frozen=True)
class Values:
    """The values of one metric for K methods.

    Attributes:
        seeds: the values (K, S) for S seeds, NaN where a method was not measured.
        replicates: the jackknife replicates (K, S, G) over G groups of test cases; G may be zero.
        lower: whether lower is better.
        ties: pairs of methods (K, K) that count as equal regardless of their values.
    """

    seeds: np.ndarray
    replicates: np.ndarray
    lower: bool
    ties: np.ndarray


def variance(seeds: np.ndarray, replicates: np.ndarray) -> tuple[float, float]:
    """The variance of a mean over seeds (S,), with replicates (S, G), and its degrees of freedom.

    NaN and 0 if there is a single seed and no replicates.
    """
    own = float(seeds.var(ddof=1)) / len(seeds) if len(seeds) > 1 else 0.0
    return _total(own, len(seeds) - 1, replicates)


def _total(v_seeds: float, freedom: int, replicates: np.ndarray) -> tuple[float, float]:
    """The sum of both parts of a variance, and its degrees of freedom, at most `freedom` unless it is 0."""
    groups = replicates.mean(0) if replicates.size else np.zeros(0)
    known = len(groups) > 1 and bool(np.isfinite(groups).all())
    v_cases = (len(groups) - 1) * float(groups.var()) if known else 0.0
    total = v_seeds + v_cases
    if not freedom:
        return (v_cases, float(len(groups) - 1)) if known else (np.nan, 0.0)
    if not known or total == 0:
        return total, float(freedom)
    welch = total**2 / (v_seeds**2 / freedom + v_cases**2 / (len(groups) - 1))
    return total, min(float(freedom), welch)


def half_interval(seeds: np.ndarray, replicates: np.ndarray) -> float:
    """Half of the 95% confidence interval of a mean over seeds (S,); NaN if it cannot be estimated."""
    total, freedom = variance(seeds, replicates)
    return float(stdtrit(freedom, 0.975) * np.sqrt(total)) if freedom else np.nan


def worse(values: Values, comparisons: int) -> np.ndarray:
    """Whether method i is worse than method j, (K, K), by the test at level `ALPHA` / `comparisons`."""
    known = np.flatnonzero(np.isfinite(values.seeds).all(1))
    result = np.zeros((len(values.seeds),) * 2, bool)
    seeds, replicates = _compared(values, known)
    count = seeds.shape[1]
    own = seeds.var(1, ddof=1) if count > 1 else np.zeros(len(seeds))
    level = 1 - ALPHA / max(comparisons, 1)
    for a, i in enumerate(known):
        for b, j in enumerate(known):
            difference = float((seeds[a] - seeds[b]).mean())
            if i == j or values.ties[i, j] or difference <= ROUNDING * np.abs(seeds[[a, b]]).max():
                continue
            v_seeds = max(2 * own.mean(), own[a] + own[b]) / count
            total, freedom = _total(v_seeds, len(known) * (count - 1), replicates[a] - replicates[b])
            if freedom:
                result[i, j] = difference > stdtrit(freedom, level) * np.sqrt(total)
    return result


def _compared(values: Values, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The values and replicates of the measured methods, on the scale of the comparison; lower is better."""
    seeds, replicates = values.seeds[known], values.replicates[known]
    if not values.lower:
        return -seeds, -replicates
    positive = bool((seeds > 0).all()) and not bool((replicates <= 0).any())
    return (np.log(seeds), np.log(replicates)) if positive else (seeds, replicates)


def marked(values: Values) -> tuple[np.ndarray, bool]:
    """Which methods (K,) are marked, and whether any two differ significantly."""
    known = np.isfinite(values.seeds).all(1)
    if not known.any():
        return known, False
    count = int(known.sum())
    if not worse(values, count * (count - 1)).any():
        return np.zeros(len(known), bool), False
    return known & ~worse(values, count - 1).any(1), True
