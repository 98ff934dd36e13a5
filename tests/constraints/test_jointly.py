"""Several constraints at once: stacked linear ones, convex ones by Dykstra, smooth ones by SQP steps."""

import logging

import cvxpy
import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from plumbline.constraints import (
    Ball,
    Bounds,
    Conserved,
    ConstraintSpec,
    Equations,
    Fixed,
    GaussianConditioning,
    InfeasibleConstraintError,
    Jointly,
    LinearEquality,
    LinearEqualityConstraint,
    Polytope,
    ProjectableConstraint,
    Simplex,
    Sphere,
    _jointly,
)
from plumbline.constraints.jointly import JointlySpec
from plumbline.linalg.spectral import SpectralCovariance
from plumbline.linalg.stacked import StackedMap
from plumbline.spec import kinds

FLOAT = torch.float64
EXACT = {"solver": "CLARABEL", "tol_gap_abs": 1e-10, "tol_gap_rel": 1e-10, "tol_feas": 1e-10}


@pytest.fixture(params=[2**22, 0], ids=["matrix", "matrix-free"])
def stacking(request, monkeypatch):
    monkeypatch.setattr(_jointly, "LARGEST_MATRIX", request.param)
    return request.param


def test_linear_equalities_are_one(stacking):
    places = torch.zeros(3, 4, dtype=torch.bool)
    places[0] = True
    parts = [Fixed(places, torch.arange(4.0)), Conserved((3, 4), over=(1,), along=0)]
    x, variance = torch.randn(5, 3, 4, dtype=FLOAT), torch.rand(3, 4, dtype=FLOAT) + 0.1
    joint = Jointly(parts)
    matrix = torch.cat([part.linear_map.dense() for part in parts])
    target = torch.cat([part.target for part in parts])
    alone = LinearEquality(matrix, target)
    assert isinstance(joint._linear.linear_map, StackedMap) == (not stacking)
    torch.testing.assert_close(joint.project(x), alone.project(x), rtol=1e-10, atol=1e-10)
    zeros, covariance = torch.zeros(3, 4, dtype=FLOAT), SpectralCovariance.of(torch.diag(variance.flatten()))
    found, wanted = (
        one.conditioner(zeros, zeros + 1)(x.flatten(1), covariance).mean for one in (joint, alone)
    )
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(joint.residual(x), alone.residual(x))
    assert (joint.violation(joint.project(x)) < 1e-12).all()


def test_equalities_that_repeat_each_other_do_no_harm_and_contradictions_are_refused(stacking):
    total, same = LinearEquality(torch.ones(1, 3), torch.ones(1)), Conserved((3,), over=(0,), total=1.0)
    x = torch.randn(4, 3, dtype=FLOAT)
    torch.testing.assert_close(Jointly([total, same]).project(x), total.project(x), rtol=1e-10, atol=1e-10)
    if stacking:
        with pytest.raises(InfeasibleConstraintError, match="k contradicts them"):
            Jointly([total, Conserved((3,), over=(0,), total=2.0)])


def test_targets_of_each_sample_are_bound(stacking):
    parts = [
        LinearEquality(torch.ones(1, 4), None, target_variable="total"),
        Fixed(torch.arange(4) < 1, "first"),
    ]
    known = {"total": torch.tensor([[1.0], [2.0]]), "first": torch.tensor([3.0, 4.0])}
    found = Jointly(parts).bind(known).project(torch.randn(2, 4, dtype=FLOAT))
    torch.testing.assert_close(found.sum(1), known["total"][:, 0].double())
    torch.testing.assert_close(found[:, 0], known["first"].double())


CONVEX = {
    "total and bounds": (
        lambda: [LinearEquality(torch.ones(1, 4), torch.ones(1)), Bounds(0.0, 0.6)],
        lambda z: [cvxpy.sum(z) == 1, z >= 0, z <= 0.6],
    ),
    "simplex and ball": (
        lambda: [Simplex(1.0), Ball(0.6)],
        lambda z: [cvxpy.sum(z) == 1, z >= 0, cvxpy.norm(z) <= 0.6],
    ),
    "polytope and ball": (
        lambda: [Polytope(torch.tensor([[1.0, 2, 0, 0], [0, 0, 1, -1]]), torch.tensor([0.3, 0.1])),
            Ball(1.0, center=0.2)],
        lambda z: [z[0] + 2 * z[1] <= 0.3, z[2] - z[3] <= 0.1, cvxpy.norm(z - 0.2) <= 1],
    ),
    "two totals and bounds": (
        lambda: [
            LinearEquality(torch.tensor([[1.0, 1, 0, 0]]), torch.tensor([0.5])),
            Conserved((4,), over=(0,), total=1.0),
            Bounds(lower=-0.2),
        ],
        lambda z: [z[0] + z[1] == 0.5, cvxpy.sum(z) == 1, z >= -0.2],
    ),
}  # fmt: skip


@settings(max_examples=16)
@given(st.sampled_from(sorted(CONVEX)), st.integers(0, 10**6))
def test_convex_sets_are_met_where_cvxpy_says(name, seed):
    made, written = CONVEX[name]
    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(seed), dtype=FLOAT)
    joint = Jointly(made())
    report = joint.project_with_report(x)
    assert report.converged.all()
    wanted = []
    for point in x.numpy():
        z = cvxpy.Variable(4)
        cvxpy.Problem(cvxpy.Minimize(cvxpy.sum_squares(z - point)), written(z)).solve(**EXACT)
        wanted.append(z.value)
    torch.testing.assert_close(report.points, torch.as_tensor(np.array(wanted)), rtol=1e-6, atol=1e-6)
    assert (joint.violation(report.points) < 1e-9).all()
    torch.testing.assert_close(joint.project(report.points), report.points, rtol=1e-8, atol=1e-8)


def test_sets_that_do_not_meet_are_reported(caplog, monkeypatch):
    monkeypatch.setattr(_jointly, "ROUNDS", 50)
    apart = Jointly([Ball(1.0), Bounds(lower=2.0)])
    x = torch.tensor([[0.0, 0.0], [torch.nan, 0.0]])
    with caplog.at_level(logging.WARNING, "plumbline.constraints"):
        apart.project(x)
    assert not apart.project_with_report(x).converged.any()
    assert "2 of 2 samples did not converge" in caplog.text


def test_smooth_equations_are_solved_together():
    """The circle in which a sphere intersects a plane."""
    plane = LinearEquality(torch.tensor([[0.0, 0.0, 1.0]]), None, target_variable="height")
    joint = Jointly([Sphere("radius"), plane]).bind(
        {"height": torch.tensor([[0.6], [1.2]]), "radius": torch.tensor([1.0, 2.0])}
    )
    x = torch.randn(2, 3, dtype=FLOAT)
    report = joint.project_with_report(x)
    assert report.converged.all()
    wide = x[:, :2] / x[:, :2].norm(dim=1, keepdim=True) * torch.tensor([[0.8], [1.6]], dtype=FLOAT)
    wanted = torch.cat([wide, torch.tensor([[0.6], [1.2]], dtype=FLOAT)], 1)
    torch.testing.assert_close(report.points, wanted, rtol=1e-7, atol=1e-7)


def test_equations_with_inequalities_have_no_projection_and_keep_their_distance():
    joint = Jointly([Equations(lambda x: x[:, :1] ** 2 - 1), Bounds(lower=0.0)])
    x = torch.tensor([[1.0, 0.0], [-1.0, 2.0]])
    assert joint.violation(x).tolist() == [0.0, 0.5]
    assert joint.distance(x).tolist() == pytest.approx([0.0, 1 / 3])
    with pytest.raises(
        TypeError, match=r"no joint projection of Equations.*and Bounds, which is not a smooth equation"
    ):
        joint.project(x)


@pytest.fixture
def example():
    rng = np.random.default_rng(0)
    return xr.Dataset(
        {
            "state": (("sample", "time", "x"), rng.random((3, 4, 5)).astype(np.float32)),
            "initial": (("sample", "x"), rng.random((3, 5))),
        },
        coords={"time": np.arange(4.0), "x": np.arange(5.0)},
    )


INITIAL = {"kind": "fixed", "where": {"time": 0}, "value": "initial"}
MASS = {"kind": "conserved", "over": ["x"], "along": "time"}


@pytest.mark.parametrize(
    ("given_", "provided"),
    [
        ([INITIAL, MASS], (LinearEqualityConstraint,)),
        ([INITIAL, MASS, {"kind": "bounds", "lower": 0.0}], (ProjectableConstraint, GaussianConditioning)),
        ([{"kind": "sphere", "radius": 2.0}, MASS], (ProjectableConstraint, GaussianConditioning)),
        ([INITIAL, {"kind": "ball", "radius": 2.0}], (ProjectableConstraint,)),
        ([{"kind": "sphere", "radius": 2.0}, {"kind": "ball", "radius": 2.0}], ()),
    ],
)
def test_specs_hold_the_specs_of_their_parts(given_, provided, example):
    spec = JointlySpec.model_validate({"kind": "jointly", "constraints": given_})
    assert spec.provides() == provided
    constraint = spec.build(example).bind(example)
    if provided:
        assert isinstance(constraint, provided)
        projected = constraint.project(torch.as_tensor(example["state"].values))
        assert (constraint.violation(projected) < 1e-6).all()


def test_jointly_holds_two_constraints_or_more_of_other_kinds():
    with pytest.raises(ValidationError, match="at least 2 items"):
        JointlySpec.model_validate({"constraints": [MASS]})
    with pytest.raises(ValidationError, match="list the constraints of the inner one here"):
        JointlySpec.model_validate(
            {"constraints": [{"kind": "jointly", "constraints": [MASS, INITIAL]}, MASS]}
        )


def test_specs_say_of_their_constraint_what_it_says_itself():
    """The check of a study builds nothing and reads from the spec whether a kind is convex or smooth."""
    classes = {
        "ball": Ball, "bounds": Bounds, "conserved": Conserved, "equations": Equations, "fixed": Fixed,
        "linear_equality": LinearEquality, "polytope": Polytope, "simplex": Simplex, "sphere": Sphere,
        "sum": LinearEquality,
    }  # fmt: skip
    for name, made in classes.items():
        spec = kinds(ConstraintSpec)[name]
        assert (spec.convex, spec.smooth) == (made.convex, made.smooth), name
