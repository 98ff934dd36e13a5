"""LinearEquality: projections, conditioning, ranks and errors."""

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from plumbline.constraints import InfeasibleConstraintError
from plumbline.constraints._linear_equality import LinearEquality
from plumbline.constraints.linear_equality import LinearEqualitySpec
from plumbline.constraints.sum import SumSpec
from plumbline.linalg.maps import GroupSum

DTYPES = [torch.float32, torch.float64]


def equality(
    m: int, n: int, batch: int, seed: int, dtype=torch.float64
) -> tuple[LinearEquality, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    matrix = torch.randn(m, n, generator=g, dtype=torch.float64)
    target = torch.randn(batch, m, generator=g, dtype=torch.float64)
    return LinearEquality(matrix, target), torch.randn(batch, n, generator=g, dtype=torch.float64).to(dtype)


sizes = st.integers(1, 6).flatmap(
    lambda m: st.tuples(st.just(m), st.integers(m + 1, 24), st.integers(0, 10**6))
)


@settings(max_examples=60, deadline=None)
@given(sizes, st.sampled_from(DTYPES))
def test_projection_is_feasible_idempotent_and_nearest(size, dtype):
    m, n, seed = size
    constraint, x = equality(m, n, 5, seed, dtype)
    projected = constraint.project(x)
    eps = torch.finfo(dtype).eps
    assert projected.dtype == dtype
    assert (constraint.violation(projected) <= 10 * eps).all()
    # Rounding of k moves the feasible set by eps |k| over the smallest singular value of A.
    moved = 20 * eps * (1 + 1 / float(torch.linalg.svdvals(constraint.linear_map.matrix).min()))
    torch.testing.assert_close(constraint.project(projected), projected, rtol=20 * eps, atol=moved)
    # No feasible point is nearer: the correction is orthogonal to every feasible direction.
    other = constraint.project(projected + torch.randn_like(x))
    inner = ((x - projected).double() * (other - projected).double()).sum(1)
    scale = (x - projected).double().norm(dim=1) * (other - projected).double().norm(dim=1)
    assert (inner.abs() <= 100 * eps * scale + 1e-10 + 100 * eps * x.double().norm(dim=1)).all()


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 5), st.integers(1, 5), st.integers(0, 10**6))
def test_group_sums_agree_with_their_matrix(groups, each, seed):
    g = torch.Generator().manual_seed(seed)
    labels = torch.arange(groups).repeat_interleave(each)[torch.randperm(groups * each, generator=g)]
    target = torch.randn(4, groups, generator=g, dtype=torch.float64)
    free = LinearEquality(GroupSum(labels), target)
    dense = LinearEquality(torch.nn.functional.one_hot(labels).mT.double(), target)
    x = torch.randn(4, groups * each, generator=g, dtype=torch.float64)
    variance = torch.rand(4, groups * each, generator=g, dtype=torch.float64) + 0.1
    torch.testing.assert_close(free.residual(x), dense.residual(x))
    torch.testing.assert_close(free.project(x), dense.project(x))
    torch.testing.assert_close(free.matrix @ x.mT - free.independent_residual(x).mT, target.mT)
    for a, b in zip(free.condition(x, variance), dense.condition(x, variance), strict=True):
        if isinstance(a, torch.Tensor):
            torch.testing.assert_close(a, b)
        else:
            torch.testing.assert_close(a.diagonal(), b.diagonal())
            torch.testing.assert_close(a.dense(), b.dense())


def test_dependent_rows_are_reduced():
    matrix = torch.tensor([[1.0, 1.0, 0.0], [2.0, 2.0, 0.0], [0.0, 1.0, 1.0]])
    constraint = LinearEquality(matrix, torch.tensor([1.0, 2.0, 0.5]))
    assert constraint.matrix.shape == (2, 3)
    projected = constraint.project(torch.randn(6, 3))
    assert (constraint.violation(projected) < 1e-6).all()
    assert constraint.residual(projected).shape == (6, 3)


def test_contradicting_rows_are_refused():
    matrix = torch.tensor([[1.0, 1.0], [2.0, 2.0]])
    with pytest.raises(InfeasibleConstraintError, match="contradicts"):
        LinearEquality(matrix, torch.tensor([1.0, 3.0]))
    with pytest.raises(InfeasibleConstraintError, match="zero"):
        LinearEquality(torch.zeros(1, 3), torch.tensor([1.0]))


@pytest.mark.rejects
@pytest.mark.parametrize(
    ("matrix", "target", "words"),
    [
        (torch.ones(3), torch.ones(1), "m-by-n"),
        (torch.full((1, 2), torch.nan), torch.ones(1), "finite"),
        (torch.ones(1, 2), torch.ones(2), "1 real"),
    ],
)
def test_bad_input_is_named(matrix, target, words):
    with pytest.raises(ValueError, match=words):
        LinearEquality(matrix, target)


@pytest.mark.rejects
def test_targets_a_sample_are_bound_by_name():
    spec = LinearEqualitySpec(matrix="matrix", target="condition")
    data = xr.Dataset(
        {
            "state": (("sample", "species"), np.ones((3, 2), np.float32)),
            "matrix": (("element", "species"), np.array([[1.0, 1.0]])),
            "condition": (("sample", "element"), np.array([[2.0], [3.0], [4.0]])),
        }
    )
    constraint = spec.build(data)
    x = torch.ones(3, 2)
    with pytest.raises(ValueError, match="bind it with `bind`"):
        constraint.distance(x)
    bound = constraint.bind(data)
    torch.testing.assert_close(bound.residual(x), torch.tensor([[0.0], [-1.0], [-2.0]]))
    with pytest.raises(ValueError, match="3 targets were given for 2 samples"):
        bound.distance(x[:2])


def test_block_sums_of_images():
    example = xr.Dataset({"state": (("sample", "y", "x"), np.zeros((1, 4, 4), np.float32))})
    constraint = SumSpec(total=[1.0, 2.0], blocks=2).build(example)
    projected = constraint.project(torch.rand(3, 4, 4))
    torch.testing.assert_close(projected[:, :2].sum((1, 2)), torch.ones(3))
    torch.testing.assert_close(projected[:, 2:].sum((1, 2)), 2 * torch.ones(3))
    with pytest.raises(ValueError, match="5 equal blocks do not fit 16"):
        SumSpec(total=1.0, blocks=5).build(example)


def test_residual_and_conditioning_are_differentiable():
    constraint, x = equality(2, 5, 3, 0)
    variance = torch.rand(3, 5, dtype=torch.float64) + 0.5
    inputs = (x.requires_grad_(), variance.requires_grad_())
    assert torch.autograd.gradcheck(lambda m, v: constraint.condition(m, v)[0], inputs)
    assert torch.autograd.gradcheck(lambda m: constraint.residual(m), (x,))


def test_no_square_matrix_is_formed_for_a_sum():
    """With a million coordinates, an n-by-n matrix would need terabytes."""
    n = 10**6
    constraint = LinearEquality(GroupSum(torch.zeros(n, dtype=torch.long)), torch.tensor([1.0]))
    mean, covariance = constraint.condition(torch.randn(2, n), torch.rand(n) + 0.1)
    assert (constraint.violation(mean) < 1e-6).all()
    assert covariance.diagonal().shape == (n,)


@settings(max_examples=40, deadline=None)
@given(sizes)
def test_completion_is_feasible_and_moves_the_pivots_alone(size):
    m, n, seed = size
    constraint, x = equality(m, n, 5, seed)
    completed = constraint.complete(x)
    pivots = constraint.pivots(last=True)
    scale = 1e-9 * (1 + completed.abs().amax())
    assert (constraint.residual(completed).abs() <= scale).all()
    kept = torch.ones(n, dtype=torch.bool)
    kept[pivots] = False
    assert len(pivots) == m and (completed[:, kept] == x[:, kept]).all()
    torch.testing.assert_close(constraint.complete(completed), completed, rtol=1e-9, atol=float(scale))


@settings(max_examples=40, deadline=None)
@given(sizes, st.booleans())
def test_a_rescaled_equality_holds_where_the_first_does(size, grouped):
    """x = shift + scale z is feasible if and only if z is, for shared targets and for targets per sample."""
    m, n, seed = size
    g = torch.Generator().manual_seed(seed)
    shift, scale = (
        torch.randn(n, generator=g, dtype=torch.float64),
        torch.rand(n, generator=g, dtype=torch.float64) + 0.5,
    )
    rows = GroupSum(torch.arange(n) % m) if grouped else torch.randn(m, n, generator=g, dtype=torch.float64)
    for target in (
        torch.randn(m, generator=g, dtype=torch.float64),
        torch.randn(5, m, generator=g, dtype=torch.float64),
    ):
        constraint = LinearEquality(rows, target)
        moved = constraint.rescaled(shift, scale)
        z = moved.project(torch.randn(5, n, generator=g, dtype=torch.float64))
        assert (constraint.residual(shift + scale * z).abs() < 1e-9 * (1 + z.abs().amax())).all()
        twice = moved.rescaled(scale, shift.abs() + 0.1)
        y = twice.project(torch.randn(5, n, generator=g, dtype=torch.float64))
        x = shift + scale * (scale + (shift.abs() + 0.1) * y)
        assert (constraint.residual(x).abs() < 1e-9 * (1 + x.abs().amax())).all()
        again = moved.with_target(target)
        torch.testing.assert_close(again.residual(z), moved.residual(z))


def test_weighted_sums_agree_with_their_matrix():
    g = torch.Generator().manual_seed(0)
    weights = torch.tensor([0.2, 0.3, 0.5, -1.0], dtype=torch.float64)
    sums = LinearEquality(GroupSum(torch.zeros(4, dtype=torch.long), weights), torch.zeros(1))
    dense = LinearEquality(weights[None], torch.zeros(1))
    x, variance = (
        torch.randn(6, 4, generator=g, dtype=torch.float64),
        torch.rand(4, generator=g, dtype=torch.float64),
    )
    torch.testing.assert_close(sums.project(x), dense.project(x))
    torch.testing.assert_close(sums.condition(x, variance)[0], dense.condition(x, variance)[0])
    torch.testing.assert_close(
        sums.condition(x, variance)[1].dense(), dense.condition(x, variance)[1].dense()
    )
    torch.testing.assert_close(sums.violation(x), dense.violation(x))
    with pytest.raises(InfeasibleConstraintError, match="weights"):
        LinearEquality(GroupSum(torch.tensor([0, 1]), torch.tensor([1.0, 0.0])), torch.zeros(2))


def test_a_matrix_of_the_dataset_is_read_by_the_names_of_its_dimensions():
    """The shape of a square matrix does not reveal which dimension is which."""
    matrix = np.array([[1.0, 2.0], [0.0, 1.0]])
    data = xr.Dataset(
        {
            "state": (("sample", "component"), np.zeros((3, 2))),
            "right": (("row", "component"), matrix),
            "turned": (("component", "row"), matrix.T),
        }
    )
    for name in ("right", "turned"):
        built = LinearEqualitySpec(matrix=name, target=[1.0, 2.0]).build(data)
        x = torch.tensor([[3.0, 4.0]], dtype=torch.float64)
        torch.testing.assert_close(built.residual(x), torch.tensor([[10.0, 2.0]], dtype=torch.float64))


def test_a_target_that_samples_lack_is_named():
    equality = LinearEquality(torch.ones(1, 3), None, target_variable="total")
    with pytest.raises(ValueError, match="is the variable 'total', which the samples lack; they have mass"):
        equality.bind({"mass": torch.ones(2, 1)})
