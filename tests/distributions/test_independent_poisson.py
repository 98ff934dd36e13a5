"""Independent Poisson counts, against sums over all counts."""

import numpy as np
import pytest
import torch
from scipy.stats import poisson

from plumbline.distributions import ConstrainedPoisson, IndependentPoisson

RATES = torch.tensor([[0.3, 4.0, 21.5], [1e-6, 1.0, 60.0]], dtype=torch.float64)
TARGETS = torch.tensor([[0.0, 2.5, 30.0], [1.0, -3.0, 59.9]], dtype=torch.float64)


def test_expected_losses_are_sums_over_all_counts():
    counts = np.arange(400)
    f = poisson.pmf(counts, RATES.numpy()[..., None])
    error = counts - TARGETS.numpy()[..., None]
    found = IndependentPoisson(RATES)
    np.testing.assert_allclose(found.expected_l1(TARGETS), (f * np.abs(error)).sum(-1), rtol=1e-10)
    np.testing.assert_allclose(found.expected_l2(TARGETS), (f * error**2).sum(-1), rtol=1e-10)


def test_gradients_are_those_of_differences():
    rate, target = (RATES + 0.1).requires_grad_(), (TARGETS + 0.17).requires_grad_()
    for loss in ("expected_l1", "expected_l2"):
        torch.autograd.gradcheck(
            lambda r, b, loss=loss: getattr(IndependentPoisson(r), loss)(b), (rate, target)
        )


def test_it_is_the_limit_of_counts_with_a_large_total():
    """Binomial(k, lambda / k) tends to Poisson(lambda): the expected losses differ by O(1 / k)."""
    total = 10**7
    rates = torch.cat([RATES, total - RATES.sum(1, keepdim=True)], 1)
    given = ConstrainedPoisson(rates, total)
    targets = torch.cat([TARGETS, torch.zeros(2, 1).double()], 1)
    for loss in ("expected_l1", "expected_l2"):
        found = getattr(given, loss)(targets)[:, :3]
        torch.testing.assert_close(
            found, getattr(IndependentPoisson(RATES), loss)(TARGETS), rtol=1e-4, atol=0
        )


def test_rates_must_be_positive():
    with pytest.raises(ValueError, match="positive"):
        IndependentPoisson(torch.tensor([1.0, 0.0]), validate_args=True)
