"""ConstrainedPoisson compared with enumeration of all counts, SciPy's multinomial and finite differences."""

import itertools

import numpy as np
import pytest
import torch
from scipy import stats

from plumbline.distributions.constrained_poisson import ConstrainedPoisson

DOUBLE = torch.float64
RATE = torch.tensor([0.7, 2.0, 0.1, 1.3, 0.9], dtype=DOUBLE)
TOTAL = 6


def enumerated(rate: torch.Tensor, total: int) -> tuple[np.ndarray, np.ndarray]:
    """All counts with this sum and their conditional probabilities, from independent Poisson counts."""
    counts = np.array([z for z in itertools.product(range(total + 1), repeat=len(rate)) if sum(z) == total])
    joint = stats.poisson.pmf(counts, rate.numpy()).prod(1)
    return counts, joint / joint.sum()


def test_law_moments_and_losses_are_those_of_enumeration():
    counts, probability = enumerated(RATE, TOTAL)
    p = ConstrainedPoisson(RATE, TOTAL)
    np.testing.assert_allclose(
        p.log_prob(torch.as_tensor(counts, dtype=DOUBLE)).exp(), probability, atol=1e-13
    )
    mean = probability @ counts
    np.testing.assert_allclose(p.mean, mean, atol=1e-13)
    np.testing.assert_allclose(p.variance, probability @ (counts - mean) ** 2, atol=1e-12)
    for b in ([0.0, 1.0, 2.0, 3.0, 6.0], [0.3, 1.7, -1.2, 8.5, 5.9]):
        target = torch.tensor(b, dtype=DOUBLE)
        np.testing.assert_allclose(p.expected_l1(target), probability @ abs(counts - np.array(b)), atol=1e-12)
        np.testing.assert_allclose(
            p.expected_l2(target), probability @ (counts - np.array(b)) ** 2, atol=1e-12
        )


def test_gradients_are_those_of_finite_differences():
    rate = (torch.rand(3, 5, dtype=DOUBLE) + 0.2).requires_grad_()
    total = torch.tensor([4.0, 9.0, 1.0], dtype=DOUBLE)
    target = torch.rand(3, 5, dtype=DOUBLE) * 4 + 0.01

    def numbers(rate, target):
        p = ConstrainedPoisson(rate, total)
        z = torch.nn.functional.one_hot(torch.tensor([0, 3, 2]), 5) * total[:, None]
        return p.mean, p.expected_l1(target), p.expected_l2(target), p.log_prob(z)

    assert torch.autograd.gradcheck(numbers, (rate, target.requires_grad_()))
    (gradient,) = torch.autograd.grad(ConstrainedPoisson(rate, total).expected_l1(target).sum(), rate)
    assert (gradient * rate).sum(-1).abs().max() < 1e-12  # the total rate is not identified


def test_samples_sum_to_the_total_and_follow_the_law():
    """A chi-square test of 20,000 samples over all outcomes at level 1e-6."""
    p = ConstrainedPoisson(RATE[:3], 4)
    z = p.sample((20_000,))
    assert (z.sum(-1) == 4).all() and (z >= 0).all() and (z == z.round()).all()
    counts, probability = enumerated(RATE[:3], 4)
    index = {tuple(c): i for i, c in enumerate(counts)}
    observed = np.bincount([index[tuple(c)] for c in z.numpy().astype(int)], minlength=len(counts))
    expected = 20_000 * probability
    rare = expected < 5
    observed = np.append(observed[~rare], observed[rare].sum())
    expected = np.append(expected[~rare], expected[rare].sum())
    keep = expected > 0
    assert stats.chisquare(observed[keep], expected[keep]).pvalue > 1e-6


def test_large_and_mixed_totals():
    rate = torch.rand(4, 1000) + 0.01
    total = torch.tensor([0.0, 1.0, 1e3, 1e6])
    p = ConstrainedPoisson(rate, total)
    z = p.sample((7,))
    assert (z.double().sum(-1) == total).all()
    assert (z[:, 0] == 0).all()
    # 7 samples of a thousand counts each: z-test of the mean absolute deviation at 6 standard errors.
    score = ((z - p.mean) / p.variance.sqrt())[:, 3]
    assert abs(float(score.square().mean()) - 1) < 6 * (2 / score.numel()) ** 0.5


def test_zero_rates_get_no_counts():
    rate = torch.tensor([0.0, 1.0, 0.0, 2.0, 0.0])
    p = ConstrainedPoisson(rate, 50)
    z = p.sample((20,))
    assert (z[:, [0, 2, 4]] == 0).all() and (z.sum(-1) == 50).all()
    assert torch.isfinite(p.log_prob(z)).all()


@pytest.mark.rejects
@pytest.mark.parametrize(
    ("rate", "total", "words"),
    [
        ([1.0, -1.0], 2, "rates"),
        ([0.0, 0.0], 2, "rates"),
        ([1.0, 1.0], 1.5, "whole"),
        ([1.0, 1.0], -1, "whole"),
    ],
)
def test_bad_input_is_named(rate, total, words):
    with pytest.raises(ValueError, match=words):
        ConstrainedPoisson(torch.tensor(rate), torch.tensor(total))


def test_other_sums_have_no_probability():
    assert ConstrainedPoisson(RATE, TOTAL).log_prob(torch.ones(5, dtype=DOUBLE)) == -torch.inf
