"""A diffusing Gaussian random field: the physics, and kriging against a dense computation."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from plumbline.constraints.conserved import ConservedSpec
from plumbline.constraints.jointly import JointlySpec
from plumbline.constraints.linear_equality import LinearEqualitySpec
from plumbline.datasets._exact import Numbers
from plumbline.datasets.heat_field import HeatFieldSpec
from plumbline.models import BuildContext
from plumbline.models._spaces import batch_of
from plumbline.models.fitted.exact_mixture import ExactMixtureSpec

from .exact import SPLITS, assert_moments

ONE = {"points": 16, "times": 5}
TWO = {"dimensions": 2, "points": 8, "times": 3, "correlation_length": 0.15, "sensors": 2, "boundary": 1}


def made(**keys):
    return HeatFieldSpec(parts=1, splits=SPLITS, **keys)


@pytest.mark.parametrize("keys", [ONE, {**ONE, "points": 15, "sensors": 0, "final_sensors": 2}, TWO])
def test_samples_satisfy_all_rows_to_rounding_and_are_the_same_in_any_part(keys):
    spec = made(**keys)
    data = spec.draw_part(0)
    constraint = LinearEqualitySpec(matrix="matrix", target="target").build(data)
    residual = constraint.residual(torch.as_tensor(spec.draw_exact(200, 0)))
    assert residual.abs().max() < 1e-9 * float(np.abs(data["target"]).max())
    state = torch.as_tensor(data["state"].values)
    assert (constraint.violation(state)[40:] < 1e-6).all() and (constraint.violation(state)[:40] > 1e-3).all()
    parts = [spec.model_copy(update={"parts": 3}).draw_part(i)["state"].values for i in range(3)]
    np.testing.assert_allclose(np.concatenate(parts), state, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("keys", [ONE, TWO])
def test_a_field_is_periodic_solves_the_heat_equation_and_has_unit_variance(keys):
    """The variance of 20,000 samples is one within 5 standard errors; false alarms: 6e-7 a point."""
    spec = made(**keys)
    x = spec.unconstrained(Numbers(1, np.arange(20_000)))
    assert np.abs(x[:, 0].var(0) - 1).max() < 5 * np.sqrt(2 / 20_000)
    size, axes = spec.points, tuple(range(1, 1 + spec.dimensions))
    k = 2 * np.pi * np.fft.fftfreq(size, 1 / size)
    squared = sum(np.meshgrid(*[k**2] * spec.dimensions, indexing="ij"))
    step = spec.duration / (spec.times - 1)
    start = np.fft.fftn(x[:20, 0], axes=axes)
    later = np.fft.ifftn(start * np.exp(-spec.diffusivity * squared * step), axes=axes)
    np.testing.assert_allclose(later.real, x[:20, 1], atol=1e-10)


def test_the_initial_field_has_the_stated_correlation():
    """The covariance F^T F at time zero is a Gaussian of the distance, summed over periods."""
    spec = made(points=32, times=2, correlation_length=0.1)
    first = spec.factors().reshape(32, 2, 32)[:, 0]
    distance = np.arange(32) / 32 - np.arange(-3, 4)[:, None]
    expected = np.exp(-(distance**2) / (2 * 0.1**2)).sum(0)
    np.testing.assert_allclose((first.T @ first)[0], expected / expected[0], atol=1e-10)


@pytest.mark.parametrize("keys", [ONE, TWO])
def test_the_conditional_is_that_of_dense_kriging(keys):
    """C A^T (A C A^T)^+ in the space of the field, with its covariance C; the code works with the modes."""
    spec = made(**keys)
    known, matrix = spec.known(), spec.matrix()
    covariance = spec.factors().T @ spec.factors()
    # The total is the same at all times: rows are reduced to independent ones first.
    left, values, _ = np.linalg.svd(matrix @ covariance @ matrix.T)
    kept = left[:, values > 1e-12 * values[0]].T
    rows = kept @ matrix
    gain = covariance @ rows.T @ np.linalg.inv(rows @ covariance @ rows.T)
    mean = known["conditional_mean"].values.ravel()
    np.testing.assert_allclose(mean, gain @ (kept @ known["target"].values), atol=1e-7)
    dense = covariance - gain @ rows @ covariance
    np.testing.assert_allclose(known["conditional_covariance"].values, dense, atol=1e-7)
    np.testing.assert_allclose(known["conditional_std"].values.ravel() ** 2, dense.diagonal(), atol=1e-7)


@pytest.mark.parametrize("keys", [ONE, TWO])
def test_moments_of_exact_samples(keys):
    """Of 20,000 samples, within 5 standard errors: false alarms, 5e-3 for one seed; at 6, 4e-5."""
    spec = made(**keys)
    known = spec.known()
    x = spec.draw_exact(20_000, 2).reshape(20_000, -1)
    which = np.random.default_rng(0).permutation(x.shape[1])[:24]
    covariance = known["conditional_covariance"].values[np.ix_(which, which)]
    assert_moments(x[:, which], known["conditional_mean"].values.ravel()[which], covariance, errors=6.0)


def test_the_same_as_fixed_values_and_conserved_totals():
    spec = made(**ONE)
    data = spec.draw_part(0)
    sensors = [float(data["x"][i]) for i in (2, 6, 10, 14)]
    together = JointlySpec(
        constraints=[
            {"kind": "fixed", "where": {"time": 0.0, "x": sensors}, "value": "given"},
            {"kind": "fixed", "where": {"time": [0.0, 0.75], "x": 0.0}, "value": "given"},
            {"kind": "conserved", "over": ["x"], "total": "total"},
        ]
    )
    x = torch.randn(6, 5, 16, dtype=torch.float64)
    expected = LinearEqualitySpec(matrix="matrix", target="target").build(data).project(x)
    torch.testing.assert_close(together.build(data).project(x), expected, atol=1e-7, rtol=1e-7)
    total = ConservedSpec(over=("x",), total="total").build(data)
    assert total.residual(torch.as_tensor(spec.draw_exact(5, 0))).abs().max() < 1e-10


def test_its_exact_denoiser_is_that_of_a_dense_covariance():
    spec = made(**ONE)
    data = spec.draw_part(0)
    model = ExactMixtureSpec(scaling="none").build(BuildContext(data))
    model.prepare(batch_of(data))
    covariance = torch.as_tensor(spec.factors().T @ spec.factors())
    x = torch.randn(7, 5, 16, dtype=torch.float64)
    for sigma in (0.02, 1.0, 20.0):
        t = model.denoiser.schedule.time_of(torch.tensor(sigma, dtype=torch.float64))
        gain = covariance @ torch.linalg.inv(covariance + sigma**2 * torch.eye(80, dtype=torch.float64))
        expected = (x.flatten(1) @ gain.mT).view_as(x)
        torch.testing.assert_close(model.denoiser(x, t).mean, expected, atol=1e-9, rtol=1e-7)


@pytest.mark.rejects
@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"sensors": 0, "boundary": False, "total": False}, "nothing is known otherwise"),
        ({"boundary": 8}, "nearly follow from the others"),
        ({"boundary": 9}, "`boundary` must be at most `times`"),
        ({"points": 6, "sensors": 4}, "`sensors` must be at most half of `points`"),
    ],
)
def test_what_is_no_problem_is_refused(keys, message):
    with pytest.raises(ValidationError, match=message):
        made(**keys)
