"""Ranks, contradictions and precision of linear equalities, and rejected inputs."""

import logging

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from plumbline.constraints import InfeasibleConstraintError
from plumbline.constraints._linear_equality import LinearEquality
from plumbline.constraints._rows import IllConditionedError
from plumbline.linalg.gram import DegenerateGaussianError
from plumbline.linalg.maps import GroupSum

DOUBLE = torch.float64
seeds = st.integers(0, 10**6)


def dependent_rows(m: int, n: int, seed: int, dtype: torch.dtype) -> torch.Tensor:
    """m independent rows and two linear combinations of them, computed and rounded in a dtype."""
    g = torch.Generator().manual_seed(seed)
    rows = torch.randn(m, n, generator=g, dtype=DOUBLE).to(dtype)
    return torch.cat([rows, torch.randn(2, m, generator=g, dtype=DOUBLE).to(dtype) @ rows])


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 5), st.integers(6, 30), seeds, st.sampled_from([torch.float32, DOUBLE]))
def test_rows_that_depend_on_each_other_in_their_own_precision_drop_out(m, n, seed, dtype):
    matrix = dependent_rows(m, n, seed, dtype)
    g = torch.Generator().manual_seed(seed + 1)
    feasible = torch.randn(4, n, generator=g, dtype=DOUBLE)
    constraint = LinearEquality(matrix, (feasible @ matrix.double().mT).to(dtype))
    assert constraint.matrix.shape == (m, n)
    x = feasible + torch.randn(4, n, generator=g, dtype=DOUBLE)
    projected = constraint.project(x)
    rounding = torch.finfo(dtype).eps / float(torch.linalg.svdvals(matrix[:m].double()).min())
    assert (constraint.violation(projected) <= 1e-12 + 100 * rounding).all()
    # The nearest feasible point is no farther than a known feasible point.
    distance = (projected - x).norm(dim=1)
    assert (distance <= (feasible - x).norm(dim=1) * (1 + 1e-9) + 1e4 * rounding).all()
    # The same in the space of another scaling.
    scale = torch.rand(n, generator=g, dtype=DOUBLE) + 0.1
    assert constraint.rescaled(torch.zeros(n), scale).matrix.shape == (m, n)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 5), st.integers(6, 30), seeds, st.sampled_from([torch.float32, DOUBLE]), st.booleans())
def test_contradictions_are_refused_with_their_residual(m, n, seed, dtype, many):
    matrix = dependent_rows(m, n, seed, dtype)
    g = torch.Generator().manual_seed(seed + 1)
    target = torch.randn(4, n, generator=g, dtype=DOUBLE) @ matrix.double().mT
    target[2, m] += 0.1 * target[2].abs().amax()
    said = "for sample 2: .* residual of .* in row" if many else "contradicts them: .* residual of .* in row"
    with pytest.raises(InfeasibleConstraintError, match=said):
        LinearEquality(matrix, (target if many else target[2]).to(dtype))
    # A large target does not hide a contradiction in a small one.
    target[2] *= 1e-6
    bound = LinearEquality(matrix, None, target_variable="k")
    with pytest.raises(InfeasibleConstraintError):
        bound.with_target(target)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(2, 5), st.integers(6, 30), seeds, st.floats(-18, 18), st.sampled_from([torch.float32, DOUBLE])
)
def test_the_unit_of_a_row_does_not_decide_whether_it_counts(m, n, seed, exponent, dtype):
    """A small row is kept, and its equality is met as well as the others, relative to its own size."""
    g = torch.Generator().manual_seed(seed)
    matrix = torch.randn(m, n, generator=g, dtype=DOUBLE).to(dtype)
    matrix[-1] *= 10.0**exponent
    constraint = LinearEquality(matrix, torch.randn(n, generator=g, dtype=DOUBLE) @ matrix.double().mT)
    assert constraint.matrix.shape == (m, n)
    x = torch.randn(3, n, generator=g, dtype=DOUBLE)
    assert (constraint.violation(constraint.project(x)) < 1e-9).all()
    moved = constraint.rescaled(torch.ones(n), torch.full((n,), 2.0))
    assert moved.matrix.shape == (m, n)
    assert (moved.violation(moved.project(x)) < 1e-9).all()


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 4), st.integers(6, 12), seeds, st.sampled_from([torch.float32, DOUBLE]), st.booleans())
def test_coordinates_that_no_row_has_are_no_pivots(m, n, seed, dtype, last):
    """Rounding in the independent rows must not turn a coordinate without coefficients into a pivot."""
    g = torch.Generator().manual_seed(seed)
    matrix = torch.randn(m, n, generator=g, dtype=DOUBLE)
    matrix[0] *= 1e-9
    unused = torch.randperm(n, generator=g)[: n - m - 1]
    matrix[:, unused] = 0
    constraint = LinearEquality(torch.cat([matrix, matrix[:1]]).to(dtype), None)
    pivots = constraint.pivots(last=last).tolist()
    assert len(pivots) == m and not set(pivots) & set(unused.tolist())


@pytest.mark.parametrize(("dtype", "angle"), [(torch.float32, 1e-4), (DOUBLE, 1e-8), (DOUBLE, 1e-9)])
def test_an_ill_conditioned_matrix_is_said(caplog, dtype, angle):
    matrix = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, angle]], dtype=dtype)
    with caplog.at_level(logging.WARNING, logger="plumbline.constraints"):
        constraint = LinearEquality(matrix, torch.tensor([1.0, 1.0 + angle], dtype=DOUBLE))
    assert "ill-conditioned" in caplog.text and "condition number" in caplog.text
    # The difference of the rows fixes the last coordinate to one.
    projected = constraint.project(torch.zeros(1, 3, dtype=DOUBLE))
    allowed = 1e3 * torch.finfo(DOUBLE).eps / angle + torch.finfo(dtype).eps
    assert float(projected[0, 2]) == pytest.approx(1.0, abs=allowed)


@pytest.mark.rejects
@pytest.mark.parametrize(("dtype", "angle"), [(torch.float32, 1e-5), (DOUBLE, 1e-12)])
def test_a_rank_that_numbers_do_not_say_is_refused(dtype, angle):
    matrix = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, angle]], dtype=dtype)
    with pytest.raises(IllConditionedError, match="Remove rows that follow from others"):
        LinearEquality(matrix, torch.tensor([1.0, 1.0]))


def test_well_conditioned_matrices_are_not_warned_of(caplog):
    g = torch.Generator().manual_seed(0)
    with caplog.at_level(logging.WARNING, logger="plumbline.constraints"):
        LinearEquality(torch.randn(3, 8, generator=g), None)
        LinearEquality(torch.tensor([[1e-9, 0.0, 0.0], [0.0, 1e9, 1e9]]), None)
    assert not caplog.records


@pytest.mark.parametrize(
    "rows", [torch.randn(2, 6, dtype=DOUBLE), GroupSum(torch.tensor([0, 0, 0, 1, 1, 1]))]
)
@pytest.mark.parametrize("per_sample", [True, False])
def test_empty_batches(rows, per_sample):
    constraint = LinearEquality(rows, torch.zeros((0, 2) if per_sample else 2))
    x = torch.zeros(0, 2, 3)
    assert constraint.residual(x).shape == (0, 2)
    for numbers in (constraint.distance(x), constraint.violation(x), constraint.satisfied(x)):
        assert numbers.shape == (0,)
    assert constraint.project(x).shape == constraint.complete(x).shape == x.shape
    for variance in (torch.ones(6), torch.ones(0, 6), torch.ones(0, 2, 3)):
        mean, covariance = constraint.condition(x, variance)
        assert mean.shape == x.shape and covariance.diagonal().shape[-1] == 6
    assert constraint.rescaled(torch.zeros(6), torch.ones(6)).project(x).shape == x.shape


@pytest.mark.rejects
@pytest.mark.parametrize(
    ("groups", "weights", "words"),
    [
        ([-1, 0, 1], None, "from zero, found -1"),
        ([0, 2, 2], None, "without gaps"),
        ([0, 10**12], None, "without gaps"),
        ([], None, "one integer per coordinate"),
        ([[0, 1]], None, "one integer per coordinate"),
        ([0.0, 1.0], None, "one integer per coordinate"),
        ([0, 1], [1.0], "one real value for each of 2"),
        ([0, 1], [1.0, float("nan")], "finite"),
        ([0, 1], [1.0, float("inf")], "finite"),
    ],
)
def test_groups_that_are_none_are_refused(groups, weights, words):
    groups = torch.tensor(groups, dtype=torch.long) if groups == [] else torch.tensor(groups)
    with pytest.raises(ValueError, match=words):
        GroupSum(groups, None if weights is None else torch.tensor(weights))


@pytest.mark.rejects
@pytest.mark.parametrize("rows", [torch.ones(1, 3, dtype=DOUBLE), GroupSum(torch.zeros(3, dtype=torch.long))])
def test_variances_and_widths_are_refused_by_name(rows):
    constraint = LinearEquality(rows, torch.ones(1))
    x = torch.ones(2, 3)
    for number in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="variances must be finite and at least zero"):
            constraint.condition(x, torch.tensor([1.0, number, 1.0]))
    with pytest.raises(DegenerateGaussianError):
        constraint.condition(x, torch.zeros(3))
    with pytest.raises(ValueError, match="3 columns, and samples have 4"):
        constraint.residual(torch.ones(2, 4))
    for target in (torch.tensor([torch.nan]), torch.tensor([[1.0], [torch.inf]])):
        with pytest.raises(ValueError, match="finite"):
            constraint.with_target(target)
    with pytest.raises(ValueError, match="real"):
        constraint.with_target(torch.ones(1, dtype=torch.complex64))
    for scale in (0.0, float("nan")):
        with pytest.raises(ValueError, match="scale"):
            constraint.rescaled(torch.zeros(3), torch.tensor([1.0, scale, 1.0]))
    with pytest.raises(ValueError, match="real"):
        LinearEquality(torch.ones(1, 3, dtype=torch.complex64), None)


def test_a_mean_that_needs_no_correction_may_be_certain():
    constraint = LinearEquality(GroupSum(torch.tensor([0, 0, 1])), torch.tensor([2.0, 1.0]))
    mean, _ = constraint.condition(torch.ones(2, 3), torch.tensor([1.0, 1.0, 0.0]))
    assert torch.equal(mean, torch.ones(2, 3))
