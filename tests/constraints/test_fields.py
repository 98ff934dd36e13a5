"""Fixed values and conserved totals: given by coordinates, and against the same equality as a matrix."""

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from plumbline.constraints import Conserved, Fixed, InfeasibleConstraintError, LinearEquality
from plumbline.constraints.conserved import ConservedSpec
from plumbline.constraints.fixed import FixedSpec
from plumbline.linalg.gram import DegenerateGaussianError

FLOAT = torch.float64
SHAPE = (3, 2, 4)


def as_matrix(constraint):
    """The same equality with a dense matrix."""
    return LinearEquality(constraint.linear_map.dense(), constraint.target)


def variants(seed):
    g = torch.Generator().manual_seed(seed)
    weights = torch.rand(SHAPE, generator=g, dtype=FLOAT) + 0.5
    places = torch.rand(SHAPE, generator=g) < 0.4
    places[0, 0, 0] = True
    values = torch.randn(int(places.sum()), generator=g, dtype=FLOAT)
    return {
        "fixed": Fixed(places, values),
        "along": Conserved(SHAPE, over=(2,), along=0, weights=weights),
        "along, over two": Conserved(SHAPE, over=(0, 2), along=1),
        "total": Conserved(SHAPE, over=(0, 2), total=0.7, weights=weights[:, :1, :1]),
        "totals": Conserved(SHAPE, over=(1,), total=torch.randn(12, generator=g, dtype=FLOAT)),
    }


@settings(max_examples=40)
@given(st.sampled_from(sorted(variants(0))), st.integers(0, 3), st.integers(0, 10**6))
def test_fields_without_a_matrix_agree_with_their_matrix(name, batch, seed):
    g = torch.Generator().manual_seed(seed)
    constraint = variants(seed)[name]
    dense = as_matrix(constraint)
    x = torch.randn(batch, *SHAPE, generator=g, dtype=FLOAT)
    variance = torch.rand(SHAPE, generator=g, dtype=FLOAT) + 0.1
    for made in (constraint, dense):
        assert (made.violation(made.project(x)) < 1e-14).all()
    torch.testing.assert_close(constraint.residual(x), dense.residual(x))
    torch.testing.assert_close(constraint.project(x), dense.project(x))
    torch.testing.assert_close(constraint.complete(x), dense.complete(x))
    for last in (True, False):
        assert constraint.pivots(last=last).tolist() == dense.pivots(last=last).tolist()
    (mean, covariance), (wanted, other) = (made.condition(x, variance) for made in (constraint, dense))
    torch.testing.assert_close(mean, wanted)
    torch.testing.assert_close(covariance.diagonal(), other.diagonal())
    shift, scale = (
        torch.randn(SHAPE, generator=g, dtype=FLOAT),
        1 + torch.rand(SHAPE, generator=g, dtype=FLOAT),
    )
    moved, expected = constraint.rescaled(shift, scale), dense.rescaled(shift, scale)
    torch.testing.assert_close(moved.project(x), expected.project(x))


def test_the_gram_matrix_of_differences_is_that_of_the_matrix():
    rows = variants(3)["along"].linear_map
    g = torch.rand(2, 24, dtype=FLOAT) + 0.1
    other = torch.rand(24, dtype=FLOAT)
    matrix = rows.dense()
    for variance in (g, g[0]):
        gram, product = rows.gram(variance), (matrix * variance[..., None, :]) @ matrix.mT
        r = torch.randn(*variance.shape[:-1], rows.rows, dtype=FLOAT)
        torch.testing.assert_close(gram.solve(r), torch.linalg.solve(product, r))
        torch.testing.assert_close(gram.logdet(), torch.logdet(product))
        solved = torch.linalg.solve(product, matrix.expand(*product.shape[:-1], -1))
        torch.testing.assert_close(gram.leverage(), (matrix * solved).sum(-2))
        through = solved.mT @ ((matrix * other) @ matrix.mT) @ solved
        torch.testing.assert_close(
            gram.leverage_through(rows.gram(other)), through.diagonal(dim1=-2, dim2=-1)
        )


def test_a_time_that_is_known_passes_its_total_to_the_others():
    """With zero variance at one time, the other times take its total."""
    mass, x = Conserved((3, 4), over=(1,), along=0), torch.randn(5, 3, 4, dtype=FLOAT)
    for known in range(3):
        variance = torch.ones(3, 4, dtype=FLOAT)
        variance[known] = 0
        found = mass.condition(x, variance)[0]
        torch.testing.assert_close(found[:, known], x[:, known])
        torch.testing.assert_close(found.sum(2), x[:, known].sum(1, keepdim=True).expand(5, 3))
    with pytest.raises(DegenerateGaussianError):
        mass.condition(x, torch.zeros(3, 4, dtype=FLOAT))


def test_a_million_numbers_take_no_matrix():
    shape = (1000, 1000)
    mass = Conserved(shape, over=(1,), along=0)
    x = torch.randn(1, *shape)
    projected = mass.project(x)
    assert float(mass.violation(projected)) < 1e-6
    wanted = x - (x.sum(2, keepdim=True) - x.sum((1, 2), keepdim=True) / 1000) / 1000
    torch.testing.assert_close(projected, wanted, rtol=1e-4, atol=1e-4)


@pytest.fixture
def example():
    rng = np.random.default_rng(0)
    return xr.Dataset(
        {
            "state": (("sample", "time", "species", "x"), rng.standard_normal((3, 4, 2, 5)), {"units": "kg"}),
            "initial": (("sample", "x"), rng.standard_normal((3, 5))),
            "profile": (("x", "species"), rng.standard_normal((5, 2))),
            "mass": (("sample", "species"), rng.standard_normal((3, 2))),
            "everywhere": (("sample",), np.array([1.0, 2.0, 3.0])),
            "area": (("x",), np.arange(1.0, 6.0), {"units": "m2"}),
        },
        coords={
            "time": np.array([0.0, 0.1, 0.2, 0.3], np.float32),
            "species": ["water", "air"],
            "x": ("x", np.array([0.0, 1.0, 2.0, 4.0, 8.0]), {"units": "m"}),
        },
    )


def test_initial_values_of_each_sample(example):
    constraint = (
        FixedSpec(where={"time": 0.0, "species": "air"}, value="initial").build(example).bind(example)
    )
    state = torch.as_tensor(example["state"].values)
    projected = constraint.project(state)
    torch.testing.assert_close(projected[:, 0, 1], torch.as_tensor(example["initial"].values))
    torch.testing.assert_close(projected[:, 1:], state[:, 1:])
    torch.testing.assert_close(projected[:, :, 0], state[:, :, 0])


def test_boundary_values_that_all_samples_share(example):
    ends = FixedSpec(where={"x": [0.0, 8.0]}, value=0.0).build(example)
    projected = ends.project(torch.as_tensor(example["state"].values))
    assert not projected[..., [0, -1]].any() and projected[..., 1:-1].all()
    held = FixedSpec(where={"time": 0.3}, value="profile").build(example).bind(example)
    found = held.project(torch.as_tensor(example["state"].values))[:, -1]
    torch.testing.assert_close(found, torch.as_tensor(example["profile"].values.T).expand(3, 2, 5))


def test_totals_by_cells_of_each_sample(example):
    spec = ConservedSpec(over=("x", "time"), total="mass", weights="cells")
    constraint = spec.build(example).bind(example)
    assert constraint.unit == "kg m"
    projected = constraint.project(torch.as_tensor(example["state"].values))
    widths = torch.tensor([1.0, 1.0, 1.5, 3.0, 4.0], dtype=FLOAT)
    totals = (projected * widths).sum((1, 3)) * 0.1
    torch.testing.assert_close(totals, torch.as_tensor(example["mass"].values), rtol=1e-6, atol=1e-6)
    # After rescaling, each total is still compared with its own entry.
    moved = spec.build(example).rescaled(torch.zeros(4, 2, 5), 2 * torch.ones(4, 2, 5)).bind(example)
    state = torch.as_tensor(example["state"].values)
    torch.testing.assert_close(constraint.residual(2 * state), moved.residual(state))


def test_totals_that_are_constant_in_time(example):
    constraint = ConservedSpec(over=("x",), along="time", weights="area").build(example)
    assert constraint.unit == "kg m2"
    projected = constraint.project(torch.as_tensor(example["state"].values))
    totals = (projected * torch.as_tensor(example["area"].values)).sum(3)
    torch.testing.assert_close(totals, totals[:, :1].expand(3, 4, 2))


def test_one_total_of_each_sample_for_all_places(example):
    constraint = ConservedSpec(over=("x",), total="everywhere").build(example).bind(example)
    found = constraint.project(torch.as_tensor(example["state"].values)).sum(3)
    torch.testing.assert_close(found, torch.tensor([1.0, 2, 3], dtype=FLOAT)[:, None, None].expand(3, 4, 2))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (FixedSpec(where={"time": 0.05}, value=0.0), "`fixed`: `where`: 'time' has no 0.05; the nearest is"),
        (FixedSpec(where={"species": "fire"}, value=0.0), "'species' has no 'fire'; it has water, air"),
        (FixedSpec(where={"x": "left"}, value=0.0), "'x' has a numeric coordinate, found 'left'"),
        (FixedSpec(where={"y": 0}, value=0.0), "names y, and samples have the dimensions"),
        (FixedSpec(where={"time": 0}, value="start"), "the dataset has no variable 'start'"),
        (ConservedSpec(over=("x",), total="initial"), "has the dimension 'x', which the total goes over"),
        (
            ConservedSpec(over=("species",), along="time", weights="cells"),
            "need numbers as coordinate 'species'",
        ),
        (ConservedSpec(over=("x",), along="time", weights="mass"), "must be the same for all samples"),
        (ConservedSpec(over=("x",), along="x"), "must be different axes"),
    ],
)
def test_specs_name_what_does_not_fit(spec, message, example):
    with pytest.raises(ValueError, match=message):
        spec.build(example)


def test_dimensions_without_coordinates_take_indices(example):
    bare = example.drop_vars("time")
    found = FixedSpec(where={"time": 3}, value=1.0).build(bare).project(torch.zeros(1, 4, 2, 5))
    assert found[0, 3].all() and not found[0, :3].any()
    with pytest.raises(ValueError, match="takes an index from 0 to 3, found 4"):
        FixedSpec(where={"time": 4}, value=1.0).build(bare)


@pytest.mark.rejects
@pytest.mark.parametrize(
    ("made", "message"),
    [
        (
            lambda: Fixed(torch.zeros(3, dtype=torch.bool), 1.0),
            "`places` must be a boolean mask with a true entry",
        ),
        (lambda: Conserved((3, 4), over=()), "must be different axes"),
        (lambda: Conserved((3, 4), over=(0,)), "give either `along`"),
        (lambda: Conserved((1, 4), over=(1,), along=0), "give two steps or more"),
        (lambda: Fixed(torch.ones(2).bool(), "start").project(torch.ones(1, 2)), "bind it with `bind`"),
        (
            lambda: Fixed(torch.ones(2).bool(), "start").bind({"end": torch.ones(1)}),
            "'start', which the samples lack",
        ),
    ],
)
def test_what_does_not_fit_is_named(made, message):
    with pytest.raises(ValueError, match=message):
        made()


def test_totals_without_weight_are_refused():
    with pytest.raises(InfeasibleConstraintError, match="weights of group 1 are all zero"):
        Conserved((2, 2), over=(1,), total=1.0, weights=torch.tensor([[1.0], [0.0]]))
