"""Multipliers: dual ascent on problems with known duals, and the closed form for disjoint sets."""

import math

import hypothesis
import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from pydantic import ValidationError

from plumbline.models.distributional._divergences import disjoint_multipliers
from plumbline.models.distributional._multiplier_specs import (
    DualAscentSpec,
    FixedMultipliersSpec,
    ProportionalIntegralSpec,
)
from plumbline.models.distributional._multipliers import InfeasibleConstraintsError

# min |x - c|^2 / 2 subject to x <= 0 in each coordinate: the multipliers are [c]_+.
CENTRE = torch.tensor([0.7, -0.4, 0.2])


def ascended(spec, steps=4000, violation=lambda multipliers: CENTRE - multipliers):
    """Multipliers when each primal step returns the minimiser of the Lagrangian, x = c - lambda."""
    multipliers = spec.build(3)
    for _ in range(steps):
        multipliers.update(violation(multipliers.values))
    return multipliers.values


def test_ascent_finds_the_multipliers_and_lets_go_of_what_holds():
    found = ascended(DualAscentSpec(learning_rate=0.02, initial=0.5))
    torch.testing.assert_close(found, torch.tensor([0.7, 0.0, 0.2]), atol=1e-4, rtol=0)


def test_the_order_of_constraints_does_not_matter():
    order = torch.tensor([2, 0, 1])
    spec = DualAscentSpec(learning_rate=0.02)
    found = ascended(spec, violation=lambda multipliers: CENTRE[order] - multipliers)
    torch.testing.assert_close(found, ascended(spec)[order])


def test_two_of_one_constraint_share_its_multiplier():
    spec = DualAscentSpec(learning_rate=0.02)
    found = ascended(spec, violation=lambda multipliers: (0.7 - multipliers.sum()).expand(3))
    assert float(found.sum()) == pytest.approx(0.7, abs=1e-4)


@pytest.mark.parametrize("alpha", [0.5, 2.0, 100.0])
def test_resilience_relaxes_by_the_multiplier_over_its_cost(alpha):
    """The optimum solves (c - lambda) = lambda / alpha.

    The cost of the relaxation is minimised independently.
    """
    found = ascended(DualAscentSpec(learning_rate=0.02, resilience=alpha))
    torch.testing.assert_close(found, CENTRE.clamp(min=0) * alpha / (1 + alpha), atol=1e-4, rtol=0)
    z = np.linspace(0, 0.7, 100_001)
    cost = (0.7 - z) ** 2 / 2 + alpha * z**2 / 2
    assert float(found[0]) / alpha == pytest.approx(z[cost.argmin()], abs=1e-3)


def test_a_controller_is_its_sum():
    """Without projection, lambda = lambda_0 + eta sum e + kappa (xi - xi_0)."""
    spec = ProportionalIntegralSpec(learning_rate=0.03, proportional=0.2, smoothing=0.7, initial=5.0, every=1)
    violations = torch.randn(40, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    multipliers = spec.build(3).double()
    for violation in violations:
        multipliers.update(violation)
    average = violations[0]
    for violation in violations:
        average = 0.7 * average + 0.3 * violation
    expected = 5.0 + 0.03 * violations.sum(0) + 0.2 * (average - violations[0])
    torch.testing.assert_close(multipliers.values, expected)


def test_a_controller_without_a_proportional_term_is_dual_ascent():
    options = {"learning_rate": 0.02, "initial": 0.5, "resilience": 2.0}
    found = ascended(ProportionalIntegralSpec(proportional=0.0, smoothing=0.5, **options), steps=50)
    torch.testing.assert_close(found, ascended(DualAscentSpec(**options), steps=50), rtol=0, atol=0)


def test_a_controller_damps_oscillations():
    """The model follows the multiplier slowly, so that dual ascent overshoots; both end at the same value."""

    def course(spec):
        multipliers, x = spec.build(1), torch.zeros(1)
        values = []
        for _ in range(4000):
            x = x + 0.02 * (0.7 - multipliers.values - x)
            multipliers.update(x)
            values.append(float(multipliers.values))
        return torch.tensor(values)

    ascent = course(DualAscentSpec(learning_rate=0.02, every=1))
    damped = course(ProportionalIntegralSpec(learning_rate=0.02, proportional=1.0, every=1))
    assert float(ascent.max()) > 0.7 * 1.1 > 0.7 * 1.01 > float(damped.max())
    assert ascent[-1] == pytest.approx(0.7, abs=1e-3) and damped[-1] == pytest.approx(0.7, abs=1e-3)


def test_what_cannot_hold_ends_in_a_named_error_and_with_resilience_in_a_bound():
    def impossible(multipliers):
        return torch.ones(3)

    spec = DualAscentSpec(learning_rate=0.125, largest=5.0)
    with pytest.raises(InfeasibleConstraintsError, match=r"multiplier 1 of 3 reached 5\.0 at step 80"):
        ascended(spec, violation=impossible)
    relaxed = DualAscentSpec(learning_rate=0.1, largest=5.0, resilience=8.0)
    torch.testing.assert_close(
        ascended(relaxed, violation=impossible), torch.full((3,), 8.0), atol=1e-3, rtol=0
    )


def test_a_dual_step_sees_the_mean_over_its_primal_steps_and_waits_for_the_first():
    multipliers = DualAscentSpec(learning_rate=1.0, every=2, start=3).build(1)
    seen = []
    for violation in (9.0, 9.0, 9.0, 1.0, 3.0, 5.0, -1.0):
        multipliers.update(torch.tensor([violation]))
        seen.append(float(multipliers.values))
    assert seen == [0, 0, 0, 0, 2, 2, 4]


def test_a_resumed_ascent_goes_on_where_it_was():
    spec = DualAscentSpec(learning_rate=1.0, every=2)
    first, second = spec.build(1), spec.build(1)
    first.update(torch.tensor([1.0]))
    second.load_state_dict(first.state_dict())
    for multipliers in (first, second):
        multipliers.update(torch.tensor([2.0]))
    assert float(first.values) == float(second.values) == 1.5


def test_fixed_multipliers_stay():
    multipliers = FixedMultipliersSpec(value=0.2).build(2)
    multipliers.update(torch.ones(2))
    torch.testing.assert_close(multipliers.values, torch.full((2,), 0.2))


def test_a_start_beyond_the_bound_is_refused():
    with pytest.raises(ValidationError, match=r"`initial` \(3\.0\) must be less than `largest` \(2\.0\)"):
        DualAscentSpec(initial=3.0, largest=2.0)


# Disjoint sets.


def test_equal_shares_of_ten_classes():
    """Three classes with the fractions .04, .03 and .03, each of which is to have a tenth."""
    found = disjoint_multipliers(torch.tensor([0.04, 0.03, 0.03]), torch.full((3,), math.log(10)))
    torch.testing.assert_close(found, torch.tensor([0.0886, 0.0986, 0.0986]), atol=5e-5, rtol=0)


def test_a_threshold_that_holds_anyway_has_no_multiplier():
    found = disjoint_multipliers(torch.tensor([0.5, 0.1]), -torch.tensor([0.2, 0.3]).log())
    assert float(found[0]) == 0
    assert float(found[1]) == pytest.approx((0.3 - 0.1) / 0.7)


@hypothesis.given(
    st.lists(st.floats(0.0, 1.0), min_size=1, max_size=5),
    st.lists(st.floats(0.01, 1.0), min_size=5, max_size=5),
)
def test_shares_are_met_and_no_more_than_met_where_a_multiplier_is_paid(fractions, asked):
    pi = torch.tensor(fractions, dtype=torch.float64) / (sum(fractions) + 0.1)
    fraction = torch.tensor(asked[: len(fractions)], dtype=torch.float64) / (1.05 * sum(asked))
    found = disjoint_multipliers(pi, -fraction.log())
    weights = (pi + found) / (1 + found.sum())
    assert bool((found >= 0).all())
    assert bool((weights >= fraction - 1e-9).all())
    torch.testing.assert_close(found * (weights - fraction), torch.zeros_like(found), atol=1e-9, rtol=0)


def test_shares_of_more_than_all_are_refused():
    with pytest.raises(InfeasibleConstraintsError, match=r"require a fraction of 1\.2 of the samples"):
        disjoint_multipliers(torch.tensor([0.1, 0.1]), -torch.tensor([0.6, 0.6]).log())
