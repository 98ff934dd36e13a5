r"""Which methods are marked in a table, and why: a test of differences, not an overlap of error bars.

For two methods a and b, d_s is how much worse a is than b with seed s, and d its mean over S seeds. Its variance has two parts,

    v = v_seeds + v_cases,    v_seeds = var_s(d_s) / S,    v_cases by the jackknife over test cases, of the mean over seeds.

The second part holds the noise of the samples too, which the first has already: the sum errs on the side of no difference. The
statistic d / sqrt(v) has Student's t with Welch and Satterthwaite's degrees of freedom,
v^2 / (v_seeds^2 / (S - 1) + v_cases^2 / (G - 1)). Two levels are asked of it, by Bonferroni's inequality and alpha = 5%:

- **Is there a difference at all?** The worst must be worse than the best at alpha / (K (K - 1)), for all ordered pairs of K methods.
  In a column of equal methods any is marked with a probability of alpha at most; else the column is "not distinguishable".
- **Which may be the best?** A method is marked if no other is better at alpha / (K - 1), a multiple comparison with the best
  (Hsu, *The Annals of Statistics* 12, 1984). The method that is truly the best goes unmarked with a probability of alpha at most.
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
    "number of methods; the best method goes unmarked in 5% of such tables at most. Methods that are feasible to the tolerance of "
    "a constraint are ties in what measures it. Where not even the worst can be told from the best, none is marked."
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
    parts, freedoms = [], []
    if len(seeds) > 1:
        parts.append(float(seeds.var(ddof=1)) / len(seeds))
        freedoms.append(len(seeds) - 1)
    groups = replicates.mean(0) if replicates.size else np.zeros(0)
    if len(groups) > 1 and np.isfinite(groups).all():
        parts.append((len(groups) - 1) * float(groups.var()))
        freedoms.append(len(groups) - 1)
    if not parts:
        return np.nan, 0.0
    total = sum(parts)
    if total == 0:
        return 0.0, float(sum(freedoms))
    return total, total**2 / sum(part**2 / freedom for part, freedom in zip(parts, freedoms, strict=True))


def half_interval(seeds: np.ndarray, replicates: np.ndarray) -> float:
    """Half of the 95% interval of a mean over seeds (S,); NaN where there is nothing to tell it by."""
    total, freedom = variance(seeds, replicates)
    return float(stdtrit(freedom, 0.975) * np.sqrt(total)) if freedom else np.nan


def worse(values: Values, comparisons: int) -> np.ndarray:
    """Whether method i is worse than method j, (K, K), by the test at `ALPHA` over a number of comparisons."""
    known = np.isfinite(values.seeds).all(1)
    result = np.zeros((len(known), len(known)), bool)
    sign = 1.0 if values.lower else -1.0
    level = 1 - ALPHA / max(comparisons, 1)
    for i in np.flatnonzero(known):
        for j in np.flatnonzero(known):
            if i == j or values.ties[i, j]:
                continue
            difference = sign * (values.seeds[i] - values.seeds[j])
            size = max(np.abs(values.seeds[[i, j]]).max(), 1e-300)
            if difference.mean() <= ROUNDING * size:
                continue
            total, freedom = variance(difference, sign * (values.replicates[i] - values.replicates[j]))
            if freedom:
                result[i, j] = difference.mean() > stdtrit(freedom, level) * np.sqrt(total)
    return result


def marked(values: Values) -> tuple[np.ndarray, bool]:
    """Which methods (K,) are marked, and whether any two can be told apart."""
    known = np.isfinite(values.seeds).all(1)
    if not known.any():
        return known, False
    count = int(known.sum())
    if not worse(values, count * (count - 1)).any():
        return np.zeros(len(known), bool), False
    return known & ~worse(values, count - 1).any(1), True
