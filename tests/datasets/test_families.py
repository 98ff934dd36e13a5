"""Families of fields with two parameters: their equations, and the parameters that a constraint leaves."""

from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from plumbline.constraints.equations import EquationsSpec
from plumbline.constraints.fixed import FixedSpec
from plumbline.constraints.linear_equality import LinearEqualitySpec
from plumbline.datasets._exact import Numbers
from plumbline.datasets.heat_waves import HeatWavesSpec
from plumbline.datasets.reaction import HIGH, LOW, ReactionSpec
from plumbline.datasets.stokes import StokesSpec
from plumbline.models import BuildContext
from plumbline.models._spaces import batch_of
from plumbline.models.fitted.exact_mixture import ExactMixtureSpec

from .exact import SPLITS, assert_moments, assert_same_distribution

EQUATIONS = Path(__file__).parents[2] / "config" / "studies" / "exact_conditionals" / "equations.py"
SMALL = {"points": 8, "times": 5, "cells": 8, "parts": 1, "splits": SPLITS}
CASES = [
    *((HeatWavesSpec, {"given": given}) for given in ("initial", "boundary", "sensor")),
    *((StokesSpec, {"given": given}) for given in ("initial", "boundary", "sensor")),
    (ReactionSpec, {}),
]


def made(kind, keys):
    return kind(**{**SMALL, **keys})


def constraint_of(spec, data):
    if isinstance(spec, ReactionSpec):
        return EquationsSpec(function=f"{EQUATIONS}:reaction_mass").build(data).bind(data)
    across = "x" if isinstance(spec, HeatWavesSpec) else "y"
    where = {"initial": {"time": 0.0}, "boundary": {across: 0.0}}.get(spec.given) or {
        "time": data.attrs["sensor_time"],
        across: data.attrs.get("sensor_y", 0.0),
    }
    fixed = FixedSpec(where=where, value="given").build(data)
    same = LinearEqualitySpec(matrix="matrix", target="target").build(data)
    x = torch.randn(3, *data["state"].shape[1:], dtype=torch.float64)
    torch.testing.assert_close(same.project(x), fixed.project(x))
    return fixed


@pytest.mark.parametrize(("kind", "keys"), CASES)
def test_samples_satisfy_the_constraint_and_are_the_same_in_any_part(kind, keys):
    spec = made(kind, keys)
    data = spec.draw_part(0)
    constraint = constraint_of(spec, data)
    state = torch.as_tensor(data["state"].values)
    violation = constraint.violation(state)
    assert (violation[40:] < 1e-6).all() and (violation[:40] > 1e-5).all()
    exact = torch.as_tensor(spec.draw_exact(len(state), 0))
    assert constraint.residual(exact).abs().max() < 1e-12
    parts = [spec.model_copy(update={"parts": 3}).draw_part(i)["state"].values for i in range(3)]
    np.testing.assert_allclose(np.concatenate(parts), state, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(("kind", "keys"), CASES)
def test_stored_moments_are_those_of_exact_samples(kind, keys):
    """Of 20,000 samples, within 6 standard errors, in 12 coordinates: false alarms, 2e-7."""
    spec = made(kind, keys)
    known = spec.known()
    x = spec.draw_exact(20_000, 1).reshape(20_000, -1)
    which = np.random.default_rng(0).permutation(x.shape[1])[:12]
    covariance = known["conditional_covariance"].values[np.ix_(which, which)]
    # The moments of 4,096 even quantiles have an error of their own.
    exact = x[:, which] + 1e-7 * np.random.default_rng(0).standard_normal((20_000, 12))
    assert_moments(exact, known["conditional_mean"].values.ravel()[which], covariance, errors=6.0)


def parameters(spec, count, seed):
    numbers = Numbers(seed, np.arange(count)).uniforms(2)
    return [low + (high - low) * u for (low, high), u in zip(spec.bounds(), numbers.T, strict=True)]


@pytest.mark.parametrize(
    ("kind", "keys", "of", "width"),
    [
        (HeatWavesSpec, {"given": "sensor"}, lambda u, s: u[:, s._sensor(), 0], 0.004),
        (HeatWavesSpec, {"given": "initial"}, lambda u, s: u[:, 0], 0.02),
        (HeatWavesSpec, {"given": "boundary"}, lambda u, s: u[:, :, 0], 0.02),
        (StokesSpec, {"given": "sensor"}, lambda u, s: u[(slice(None), *s._indices())], 0.01),
        (StokesSpec, {"given": "initial"}, lambda u, s: u[:, 0], 0.03),
        (StokesSpec, {"given": "boundary"}, lambda u, s: u[:, :, 0], 0.03),
        (ReactionSpec, {}, lambda u, s: u[:, 0].sum(1), 0.01),
    ],
)
def test_the_parameters_are_those_of_fields_in_a_thin_tube(kind, keys, of, width):
    """All values within the width of those given; parameters by Kolmogorov-Smirnov. False alarms: 1e-4.

    A parameter that the constraint fixes is left out.
    """
    spec = made(kind, keys)
    p, q = parameters(spec, 200_000, 3)
    fields = spec.fields(p, q)
    exact = spec.given_parameters(np.random.default_rng(0).random(20_000))
    target = of(spec.fields(*(each[:1] for each in exact)), spec)
    near = np.abs(of(fields, spec) - target).reshape(len(fields), -1).max(1) < width
    assert near.sum() > 400
    found = np.stack([p[near], q[near]], axis=1)
    expected = np.stack(exact, axis=1)
    if keys.get("given") == "boundary" and kind is HeatWavesSpec:  # two points
        right = found[:, 0] > np.pi / 2
        assert abs(right.mean() - 0.5) < 4 * np.sqrt(0.25 / near.sum())
        assert np.allclose(expected[:, 1], spec.decay) and abs(found[:, 1].mean() - spec.decay) < 0.05
        for side, phase in ((right, np.pi - spec.phase), (~right, spec.phase)):
            assert abs(found[side, 0].mean() - phase) < 0.02
        return
    if (
        keys.get("given") == "sensor"
    ):  # other functions of a point on the curve have folds, which a tube blurs
        y, t = spec._place() if kind is StokesSpec else (1.0, 0.0)
        found, expected = ((each @ [[y], [-t]]) for each in (found, expected))
    free = [i for i in range(found.shape[1]) if expected[:, i].std() > 1e-9]
    for i in range(found.shape[1]):
        assert i in free or abs(found[:, i].mean() - expected[0, i]) < 0.1
    assert_same_distribution(found[:, free], expected[:, free])


def test_waves_solve_the_heat_equation_up_to_their_rate():
    spec = HeatWavesSpec(points=32, times=9, parts=1, splits=SPLITS)
    u = spec.fields(np.array([0.4]), np.array([2.0]))[0]
    k = np.fft.fftfreq(32, 1 / 32)
    later = np.fft.ifft(np.fft.fft(u[0]) * np.exp(-2.0 * k**2 / 8)).real
    np.testing.assert_allclose(later, u[1], atol=1e-12)
    np.testing.assert_allclose(u.sum(1), 0, atol=1e-12)


def test_stokes_flow_solves_its_equation():
    """u_t = nu u_yy with nu = omega / (2 k^2), by differences of second order on a fine grid."""
    spec = StokesSpec(points=2001, times=2001, parts=1, splits=SPLITS)
    u = spec.fields(np.array([5.0]), np.array([4.0]))[0][900:1000, 100:200]
    rate = (u[2:, 1:-1] - u[:-2, 1:-1]) / (2 / 2000)
    curvature = (u[1:-1, 2:] - 2 * u[1:-1, 1:-1] + u[1:-1, :-2]) * 2000**2
    np.testing.assert_allclose(rate, 4.0 / (2 * 25.0) * curvature, atol=2e-4)


def test_the_reaction_converges_to_its_equation():
    """Against a fine step: the error of the first-order scheme halves with its step."""
    errors = []
    keys = {"points": 16, "parts": 1, "splits": SPLITS}
    fine = ReactionSpec(times=6401, **keys).fields(np.array([0.3]), np.array([0.6]))[0, -1]
    for times in (51, 101, 201):
        found = ReactionSpec(times=times, **keys).fields(np.array([0.3]), np.array([0.6]))[0, -1]
        errors.append(np.abs(found - fine).max())
    assert 1.8 < errors[0] / errors[1] < 2.2 and 1.8 < errors[1] / errors[2] < 2.2
    assert fine.min() > 0 and fine.max() < 1


def test_the_line_of_the_reaction_is_all_of_it():
    for heights in (0.4, 0.7, 1.2):
        p, q = made(ReactionSpec, {"heights": heights}).given_parameters(np.array([0.0, 0.25, 1.0]))
        np.testing.assert_allclose(p + q, heights)
        assert min(p.min(), q.min()) >= LOW - 1e-12 and max(p.max(), q.max()) <= HIGH + 1e-12
        assert np.isclose([p[0], q[2]], LOW).all() or np.isclose([q[0], p[2]], HIGH).all()


@pytest.mark.parametrize(("kind", "error"), [(HeatWavesSpec, 0.02), (StokesSpec, 0.03), (ReactionSpec, 0.03)])
def test_the_mixture_has_the_denoiser_of_the_family(kind, error):
    """Against the mean over 250 x 250 parameters, relative to the standard deviation of the fields.

    At noise of .03 to 30 standard deviations, the root mean square of the difference is below `error` with
    32 cells; with 16 it is larger.
    """
    spec = kind(**{**SMALL, "cells": 32})
    data = spec.draw_part(0)
    grid = [low + (high - low) * (np.arange(250) + 0.5) / 250 for low, high in spec.bounds()]
    p, q = (g.ravel() for g in np.meshgrid(*grid, indexing="ij"))
    family = spec.fields(p, q).reshape(len(p), -1)
    free = spec.unconstrained(Numbers(8, np.arange(24))).reshape(24, -1)
    scale = family.std(0).mean()

    def worst(cells):
        model = ExactMixtureSpec(scaling="none").build(
            BuildContext(spec.model_copy(update={"cells": cells}).draw_part(0))
        )
        model.prepare(batch_of(data))
        found = []
        for level in (0.03, 0.1, 0.3, 1.0, 30.0):
            x = free + level * scale * np.random.default_rng(0).standard_normal(free.shape)
            sigma = torch.full((24, 1), level * scale, dtype=torch.float64)
            mean = model.denoiser.mean(torch.as_tensor(x), torch.ones_like(sigma), sigma).numpy()
            squares = ((x[:, None] - family[None]) ** 2).sum(2)
            weight = np.exp(-(squares - squares.min(1, keepdims=True)) / (2 * (level * scale) ** 2))
            exact = weight @ family / weight.sum(1, keepdims=True)
            found.append(np.sqrt(((mean - exact) ** 2).mean()) / scale)
        return np.array(found)

    fine = worst(32)
    assert fine.max() < error, fine
    assert fine.max() < worst(16).max()


@pytest.mark.rejects
@pytest.mark.parametrize(
    ("kind", "keys", "message"),
    [
        (HeatWavesSpec, {"given": "boundary", "phase": 1.57}, "the two branches"),
        (HeatWavesSpec, {"points": 10}, "multiple of 4"),
        (ReactionSpec, {"heights": 1.5}, "less than 1.4"),
    ],
)
def test_what_has_no_known_distribution_is_refused(kind, keys, message):
    with pytest.raises(ValidationError, match=message):
        made(kind, keys)
