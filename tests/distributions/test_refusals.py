"""Invalid distributions are refused with clear errors, empty batches work, and no loop runs forever."""

import math
import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from plumbline.constraints._linear_equality import LinearEquality
from plumbline.distributions.constrained_gaussian import ConstrainedGaussian
from plumbline.distributions.constrained_poisson import ConstrainedPoisson
from plumbline.distributions.corrected_gaussian import CorrectedGaussian
from plumbline.distributions.independent_gaussian import IndependentGaussian
from plumbline.linalg.covariance import DenseCovariance, Diagonal, LowRankPlusDiagonal, ScaledIdentity
from plumbline.linalg.gram import DegenerateGaussianError
from plumbline.linalg.maps import GroupSum

DOUBLE = torch.float64
TOTAL = LinearEquality(GroupSum(torch.zeros(4, dtype=torch.long)), torch.ones(1))
ROWS = LinearEquality(
    torch.randn(2, 4, generator=torch.Generator().manual_seed(0), dtype=DOUBLE), torch.ones(2)
)
no_variance = st.one_of(st.floats(max_value=-1e-30), st.sampled_from([math.nan, math.inf]))


@settings(max_examples=40, deadline=None)
@given(no_variance, st.integers(0, 3), st.sampled_from([TOTAL, ROWS]))
def test_numbers_that_are_no_variances_are_refused(number, at, constraint):
    mean, variance = torch.zeros(4, dtype=DOUBLE), torch.ones(4, dtype=DOUBLE)
    variance[at] = number
    square = torch.diag(variance)
    made = [
        lambda: Diagonal(variance),
        lambda: ScaledIdentity(variance[at], 4),
        lambda: LowRankPlusDiagonal(torch.ones(4, 1), variance),
        lambda: DenseCovariance(square),
        lambda: ConstrainedGaussian(mean, variance, constraint),
        lambda: ConstrainedGaussian(mean, variance[at], constraint),
        lambda: ConstrainedGaussian(mean, square, constraint),
        lambda: CorrectedGaussian(mean, variance, constraint, torch.ones(4)),
        lambda: CorrectedGaussian(mean, torch.ones(4), constraint, variance),
        lambda: IndependentGaussian(mean, variance),
        lambda: constraint.condition(mean[None], variance),
    ]
    for make in made:
        with pytest.raises(ValueError, match=r"variances must be finite|covariance must be finite"):
            make()


@pytest.mark.rejects
@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_means_and_factors_that_are_not_finite_are_refused(number):
    mean, ones = torch.tensor([0.0, number, 0.0, 0.0]), torch.ones(4)
    for make in (
        lambda: ConstrainedGaussian(mean, ones, TOTAL),
        lambda: CorrectedGaussian(mean, ones, TOTAL, ones),
        lambda: IndependentGaussian(mean, ones),
        lambda: LowRankPlusDiagonal(mean[:, None], ones),
    ):
        with pytest.raises(ValueError, match="must be finite, found NaN or infinity in 1 of 4"):
            make()


@pytest.mark.rejects
def test_matrices_that_are_no_covariances_are_refused():
    mean = torch.zeros(2, dtype=DOUBLE)
    constraint = LinearEquality(torch.ones(1, 2, dtype=DOUBLE), torch.ones(1))
    asymmetric = torch.tensor([[1.0, 0.5], [0.4, 1.0]], dtype=DOUBLE)
    indefinite = torch.tensor([[1.0, 2.0], [2.0, 1.0]], dtype=DOUBLE)
    for make in (DenseCovariance, lambda m: ConstrainedGaussian(mean, m, constraint)):
        with pytest.raises(ValueError, match=r"symmetric: entries \(i, j\) and \(j, i\) differ by 0.1"):
            make(asymmetric)
        with pytest.raises(DegenerateGaussianError, match="not positive definite"):
            make(indefinite)
    with pytest.raises(ValueError, match="shape"):
        DenseCovariance(torch.ones(2, 3))
    with pytest.raises(ValueError, match="2 coordinates does not fit a covariance of 3"):
        ConstrainedGaussian(mean, Diagonal(torch.ones(3)), constraint)
    with pytest.raises(ValueError, match="factor"):
        LowRankPlusDiagonal(torch.ones(3, 1), torch.ones(2))


def test_covariances_that_are_symmetric_to_their_rounding_are_taken():
    g = torch.Generator().manual_seed(0)
    root = torch.randn(20, 20, generator=g)
    scale = torch.logspace(-6, 6, 20)
    rounded = scale[:, None] * (root @ root.mT + torch.eye(20)) * scale
    rounded[3, 5] *= 1 + 4e-7
    assert DenseCovariance(rounded).diagonal().shape == (20,)


@pytest.mark.rejects
def test_a_correction_that_cannot_meet_the_equality_is_refused():
    mean, ones = torch.zeros(4, dtype=DOUBLE), torch.ones(4, dtype=DOUBLE)
    for make in (
        lambda: CorrectedGaussian(mean, ones, TOTAL, torch.zeros(4, dtype=DOUBLE)),
        lambda: ConstrainedGaussian(mean, torch.zeros(4, dtype=DOUBLE), TOTAL),
        lambda: ConstrainedGaussian(mean, torch.zeros(4, dtype=DOUBLE), ROWS),
    ):
        with pytest.raises(DegenerateGaussianError):
            make()


@pytest.mark.parametrize("constraint", [TOTAL, ROWS], ids=["sum", "dense"])
def test_batches_of_nothing_have_laws_of_nothing(constraint):
    mean, ones = torch.zeros(0, 4), torch.ones(0, 4)
    for covariance in (
        ones,
        torch.tensor(1.0),
        Diagonal(ones),
        ScaledIdentity(torch.ones(0), 4),
        LowRankPlusDiagonal(torch.ones(0, 4, 2), ones),
        DenseCovariance(torch.eye(4).expand(0, 4, 4)),
    ):
        distribution = ConstrainedGaussian(mean, covariance, constraint)
        assert (
            distribution.mean.shape
            == distribution.variance.shape
            == distribution.expected_l1(mean).shape
            == (0, 4)
        )
        assert distribution.sample((3,)).shape == distribution.projected((3,)).shape == (3, 0, 4)
        assert distribution.log_prob(mean).shape == distribution.entropy().shape == (0,)
        assert distribution.covariance_matrix.shape[-2:] == (4, 4)
    corrected = CorrectedGaussian(mean, ones, constraint, ones)
    assert corrected.sample((3,)).shape == (3, 0, 4) and corrected.log_prob(mean).shape == (0,)
    assert corrected.variance.shape == (0, 4)
    assert IndependentGaussian(mean, ones).sample().shape == (0, 4)
    counts = ConstrainedPoisson(ones, torch.zeros(0))
    assert counts.sample((3,)).shape == (3, 0, 4) and counts.log_prob(mean).shape == (0,)
    assert counts.expected_l1(mean).shape == counts.mean.shape == (0, 4)


no_total = st.one_of(
    st.sampled_from([math.inf, -math.inf, math.nan, 1e300, 2.0**60]),
    st.floats(-1e6, 1e6).filter(lambda k: k < 0 or k != round(k)),
)


@settings(max_examples=60, deadline=None)
@given(no_total, st.sampled_from([torch.float32, DOUBLE]), st.booleans(), st.sampled_from([None, False]))
def test_totals_that_no_counts_have_are_refused_at_once(total, dtype, tensor, validate):
    began = time.monotonic()
    given_total = torch.tensor([3.0, total], dtype=DOUBLE) if tensor else total
    with pytest.raises(ValueError, match="totals must be"):
        ConstrainedPoisson(torch.ones(2, 3, dtype=dtype), given_total, validate_args=validate)
    assert time.monotonic() - began < 5


@pytest.mark.rejects
@pytest.mark.parametrize("rate", [[1.0, math.nan], [1.0, math.inf], [3e38, 3e38]])
def test_rates_that_are_not_finite_are_refused(rate):
    with pytest.raises(ValueError, match="rates must be finite"):
        ConstrainedPoisson(torch.tensor(rate), 2)
    with pytest.raises(ValueError, match="floating point"):
        ConstrainedPoisson(torch.tensor([1, 2]), 2)


def test_the_largest_total_of_a_dtype_is_drawn_exactly():
    distribution = ConstrainedPoisson(torch.ones(3), 2**24)
    assert distribution.sample((4,)).double().sum(-1).eq(2**24).all()
    with pytest.raises(ValueError, match=r"at most 16,777,216 in torch\.float32"):
        ConstrainedPoisson(torch.ones(3), 2**24 + 1)
