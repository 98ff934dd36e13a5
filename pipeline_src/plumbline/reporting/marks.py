r"""Which methods are marked in a table, and why: a test of differences, not an overlap of error bars.

For two methods a and b, d_s is how much worse a is than b with seed s, and d its mean over S seeds. Distances and other numbers
over zero, of which less is better, are compared by their logarithms: methods whose distances are decades apart vary alike in
relative terms. The variance of d has two parts,

    v = v_seeds + v_cases,    v_seeds = max(2 s^2, s_a^2 + s_b^2) / S,    v_cases by the jackknife over test cases, of the mean over seeds,

with the variances s_a^2, s_b^2 of the two methods over seeds, and their mean s^2 over all K methods: two or three seeds of one method
alone say little of how much it varies. The second part holds the noise of the samples too, which the first has already: the sum errs
on the side of no difference. The statistic d / sqrt(v) has about Student's t with Welch and Satterthwaite's degrees of freedom,
v^2 / (v_seeds^2 / (K (S - 1)) + v_cases^2 / (G - 1)), K (S - 1) at most. With one seed there is the second part alone: what is said is
of the weights that were trained, and not of how the method would do with others. The test is made at two levels, by Bonferroni's
inequality with alpha = 5%:

- **Is there a difference at all?** Some method must be worse than another at alpha / (K (K - 1)), for all ordered pairs of K methods.
  In a column of equal methods any is marked with a probability of about alpha; else the column is "not distinguishable".
- **Which may be the best?** A method is marked if no other is better at alpha / (K - 1), a multiple comparison with the best
  (Hsu, *The Annals of Statistics* 12, 1984). The method that is truly the best goes unmarked with a probability of about alpha.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

ALPHA = 0.05
"""Probability of a false statement about a column."""
ROUNDING = 1e-6
"""Difference over size under which two values are one."""

RULE = (
    "★: no other method is better, by a t test of paired differences over seeds and over groups of test samples, corrected for the "
    "number of methods, at a level of 5%. Methods that are feasible to the tolerance of a constraint are ties in what measures "
    "it. Where not even the worst can be told from the best, none is marked."
)
"""The rule, in a few sentences for a reader."""


@dataclass(frozen=True)
class Values:
    """One metric of K methods.

    Attributes:
        seeds: (K, S), NaN where a method was not measured.
        replicates: (K, S, G), jackknife replicates over test cases; G may be zero.
        lower: whether less is better.
        ties: pairs of methods (K, K) that are alike whatever the numbers say.
    """

    seeds: np.ndarray
    replicates: np.ndarray
    lower: bool
    ties: np.ndarray


def variance(seeds: np.ndarray, replicates: np.ndarray) -> tuple[float, float]:
    """The variance of a mean over seeds (S,), with replicates (S, G), and its degrees of freedom; NaN and 0 where it has none."""
    own = float(seeds.var(ddof=1)) / len(seeds) if len(seeds) > 1 else 0.0
    return _total(own, len(seeds) - 1, replicates)


def _total(v_seeds: float, freedom: int, replicates: np.ndarray) -> tuple[float, float]:
    """The sum of both parts of a variance, and its degrees of freedom: those of the first part at most, if it has any."""
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
    """Half of the 95% interval of a mean over seeds (S,); NaN where there is nothing to tell it by."""
    total, freedom = variance(seeds, replicates)
    return float(stdtrit(freedom, 0.975) * np.sqrt(total)) if freedom else np.nan


def worse(values: Values, comparisons: int) -> np.ndarray:
    """Whether method i is worse than method j, (K, K), by the test at `ALPHA` over a number of comparisons."""
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
    """The numbers of the methods that were measured, such that less is better, on the scale that they are compared on."""
    seeds, replicates = values.seeds[known], values.replicates[known]
    if not values.lower:
        return -seeds, -replicates
    positive = bool((seeds > 0).all()) and not bool((replicates <= 0).any())
    return (np.log(seeds), np.log(replicates)) if positive else (seeds, replicates)


def marked(values: Values) -> tuple[np.ndarray, bool]:
    """Which methods (K,) are marked, and whether any two can be told apart."""
    known = np.isfinite(values.seeds).all(1)
    if not known.any():
        return known, False
    count = int(known.sum())
    if not worse(values, count * (count - 1)).any():
        return np.zeros(len(known), bool), False
    return known & ~worse(values, count - 1).any(1), True
