"""The samplers that project and renoise: their exact laws on a Gaussian, other constraints, costs.

On a Gaussian with an exact denoiser and a linear equality, the law of the samples is exact
(`tests/samplers/conftest.py`), so there are no false alarms.
"""

import math

import numpy as np
import pytest
import torch
from azula.denoise import Denoiser, DiracPosterior
from azula.noise import CosineSchedule, RectifiedSchedule

from plumbline.constraints import Ball, Bounds, Equations, LinearEquality
from plumbline.constraints._derivatives import newton_step
from plumbline.models.diffusion.diffusion import EDMScheduleSpec, VPScheduleSpec, VPSDEScheduleSpec
from plumbline.samplers import (
    DDIMSpec,
    ECISpec,
    PCFMSpec,
    PPRSpec,
    ProjectedSpec,
    ProjectRenoiseSpec,
    draw,
)
from plumbline.samplers._azula import DataSpace
from plumbline.samplers._denoising import DenoisingContext
from plumbline.samplers._noise_levels import times_at
from plumbline.samplers._project_renoise import Relaxation, Renoising, relaxed, shortened
from plumbline.samplers._task import Costs, SamplingTask

ON = {"constraint": "equalities"}
SCHEDULES = {
    "edm": EDMScheduleSpec().build(),
    "vp": VPScheduleSpec().build(),
    "vp_sde": VPSDEScheduleSpec().build(),
    "cosine": CosineSchedule(),
    "rectified": RectifiedSchedule(),
}


@pytest.mark.parametrize(
    ("spec", "distance", "ratio", "evaluations"),
    [
        (ECISpec(**ON), 11.1, 15.2, 100),
        (ECISpec(**ON, mixing=5), 22.5, 47, 500),
        (ECISpec(**ON, resample_every=5), 2.18, 2.46, 100),
        (ECISpec(**ON, resample_every=1), 1.16, 0.50, 100),
        (PPRSpec(**ON), 1.08, 0.52, 300),
        (PCFMSpec(**ON, relaxation=0), 11.1, 15.2, 100),
    ],
    ids=["eci", "eci mixing", "eci resampling", "eci fresh", "ppr", "pcfm"],
)
def test_published_samplers_at_100_steps(gaussian_problem, exact_law, spec, distance, ratio, evaluations):
    """Distances and ratios of traces from an independent calculation, to three digits.

    Its first state has no signal; that of a schedule has a little, which the last digit can show.
    """
    mean, covariance, costs = exact_law(spec, gaussian_problem.model(), gaussian_problem.equality)
    assert gaussian_problem.distance(mean, covariance) == pytest.approx(distance, rel=0.005)
    assert gaussian_problem.trace_ratio(covariance) == pytest.approx(ratio, rel=0.01)
    assert costs == Costs(evaluations, 0, evaluations + 1)


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_straight_grid_does_not_depend_on_the_schedule(gaussian_problem, exact_law, name):
    """Up to the largest noise of the schedule, which is 80 to 1000 times the signal."""
    found = exact_law(
        PPRSpec(**ON, steps=50), gaussian_problem.model(SCHEDULES[name]), gaussian_problem.equality
    )
    truth = exact_law(
        PPRSpec(**ON, steps=50),
        gaussian_problem.model(RectifiedSchedule(1e-6, 1e-3)),
        gaussian_problem.equality,
    )
    np.testing.assert_allclose(found[0], truth[0], atol=2e-3)
    np.testing.assert_allclose(found[1], truth[1], atol=2e-2)


@pytest.mark.parametrize("name", ["edm", "vp", "vp_sde"])
def test_times_invert_the_ratio(name):
    schedule = SCHEDULES[name]
    ratios = torch.tensor([0.02, 0.3, 1.0, 40.0], dtype=torch.float64)
    torch.testing.assert_close(times_at(schedule, ratios), schedule.time_of(ratios), rtol=0, atol=1e-7)


class Moments:
    """The joint moments of a state and the held noise, followed step by step in NumPy."""

    def __init__(self, problem, schedule, steps):
        model = problem.model(schedule)
        self.shift, self.scale = float(model.space.mean), float(model.space.scale)
        n = len(problem.mean)
        self.mean, self.covariance = (
            (problem.mean - self.shift) / self.scale,
            problem.covariance / self.scale**2,
        )
        matrix = problem.matrix
        inverse = matrix.T @ np.linalg.inv(matrix @ matrix.T)
        self.project = np.eye(n) - inverse @ matrix
        self.offset = inverse @ (problem.target - matrix @ np.full(n, self.shift)) / self.scale
        k = np.arange(steps)
        ratios = np.clip((steps - k) / np.maximum(k, 1e-9), 0.002, 80.0)
        self.levels = np.append(ratios, 0.0)
        self.z = np.zeros(2 * n)
        first = math.sqrt(1 + ratios[0] ** 2)
        eye = np.eye(n)
        self.joint = np.block([[first**2 * eye, first * eye], [first * eye, eye]])
        self.n, self.eye, self.zero = n, eye, np.zeros((n, n))

    def estimate(self, ratio):
        """The projected estimate as an affine function of x + ratio e."""
        gain = self.covariance @ np.linalg.inv(self.covariance + ratio**2 * self.eye)
        shift = self.mean - gain @ self.mean
        return self.project @ gain, self.project @ shift + self.offset

    def move(self, linear, shift):
        self.z = linear @ self.z + shift
        self.joint = linear @ self.joint @ linear.T

    def redraw(self):
        n = self.n
        self.z[n:] = 0
        self.joint[n:, :n] = self.joint[:n, n:] = 0
        self.joint[n:, n:] = self.eye

    def held(self, before, after):
        gain, shift = self.estimate(before)
        self.move(
            np.block([[gain, after * self.eye], [self.zero, self.eye]]), np.append(shift, np.zeros(self.n))
        )

    def implied(self, before, after):
        gain, shift = self.estimate(before)
        kept = after / before
        step = (1 - kept) * gain + kept * self.eye
        self.move(
            np.block([[step, self.zero], [self.zero, self.eye]]),
            np.append((1 - kept) * shift, np.zeros(self.n)),
        )

    def result(self):
        n = self.n
        return self.shift + self.scale * self.z[:n], self.scale**2 * self.joint[:n, :n]


@pytest.mark.parametrize(("mixing", "every"), [(1, None), (5, None), (1, 5), (3, 4), (1, 1)])
def test_eci_follows_its_moments(gaussian_problem, exact_law, mixing, every):
    moments = Moments(gaussian_problem, SCHEDULES["edm"], 30)
    count = 0
    for before, after in zip(moments.levels, moments.levels[1:], strict=False):
        for repeat in range(mixing):
            count += 1
            if every and count % every == 0:
                moments.redraw()
            moments.held(before, before if repeat < mixing - 1 else after)
    spec = ECISpec(**ON, steps=30, mixing=mixing, resample_every=every)
    mean, covariance, _ = exact_law(spec, gaussian_problem.model(), gaussian_problem.equality)
    np.testing.assert_allclose(mean, moments.result()[0], atol=1e-9)
    np.testing.assert_allclose(covariance, moments.result()[1], atol=1e-8)


@pytest.mark.parametrize("repeats", [0, 2])
def test_ppr_follows_its_moments(gaussian_problem, exact_law, repeats):
    moments = Moments(gaussian_problem, SCHEDULES["edm"], 30)
    for before, after in zip(moments.levels, moments.levels[1:], strict=False):
        for _ in range(repeats):
            moments.redraw()
            moments.held(before, before)
        moments.implied(before, after)
    spec = PPRSpec(**ON, steps=30, repeats=repeats)
    mean, covariance, _ = exact_law(spec, gaussian_problem.model(), gaussian_problem.equality)
    np.testing.assert_allclose(mean, moments.result()[0], atol=1e-9)
    np.testing.assert_allclose(covariance, moments.result()[1], atol=1e-8)


def test_implied_noise_is_ddim(gaussian_problem, exact_law):
    """On the schedule's grid and with a constraint on another coordinate, the estimates are those of DDIM.

    DDIM ends at the noise level .002 and evaluates once more, which changes the result by that much.
    """
    model = gaussian_problem.model()
    model.denoiser.directions.copy_(torch.eye(8))  # independent coordinates
    first = LinearEquality(torch.eye(8)[:1], torch.zeros(1))
    spec = ProjectRenoiseSpec(**ON, steps=20, step_noise="implied", grid="schedule")
    found, truth = (exact_law(one, model, first) for one in (spec, DDIMSpec(steps=20)))
    np.testing.assert_allclose(found[0][1:], truth[0][1:], atol=0.004)
    np.testing.assert_allclose(found[1][1:, 1:], truth[1][1:, 1:], rtol=0.002, atol=1e-9)


def test_pcfm_without_relaxation_is_eci(gaussian_problem, exact_law):
    model = gaussian_problem.model()
    eci = exact_law(ECISpec(**ON, steps=25), model, gaussian_problem.equality)
    pcfm = exact_law(PCFMSpec(**ON, steps=25, relaxation=0), model, gaussian_problem.equality)
    np.testing.assert_array_equal(eci[0], pcfm[0])
    np.testing.assert_array_equal(eci[1], pcfm[1])


def test_relaxation_changes_states_and_keeps_samples_feasible(gaussian_problem, exact_law):
    model = gaussian_problem.model()
    plain = exact_law(PCFMSpec(**ON, relaxation=0), model, gaussian_problem.equality)
    mean, covariance, costs = exact_law(PCFMSpec(**ON), model, gaussian_problem.equality)
    assert costs == Costs(100, 0, 2 * 100)
    assert np.abs(gaussian_problem.matrix @ mean - gaussian_problem.target).max() < 1e-12
    assert np.abs(gaussian_problem.matrix @ covariance).max() < 1e-12
    assert 0.5 < np.trace(covariance) / np.trace(plain[1]) < 0.98


def one_dimensional(steps, variance):
    """The standard deviation of `eci` in a direction that the constraint leaves free."""
    state, noise = 1.0, 1.0
    for k in range(steps):
        t = k / steps
        gain = t * variance / (t**2 * variance + (1 - t) ** 2)
        later = (k + 1) / steps
        state = later * gain * state + (1 - later) * noise
    return state


@pytest.mark.parametrize("variance", [0.25, 1.0, 4.0])
def test_spread_of_eci_grows_with_the_cube_root_of_steps(variance):
    """The limit is Gamma(2/3) (3 c)^(2/3) / 3 N^(1/3); corrections are of relative order N^(-1/3)."""
    for steps, tolerance in ((1000, 0.2), (1_000_000, 0.02)):
        limit = math.gamma(2 / 3) * (3 * variance) ** (2 / 3) / 3 * steps ** (1 / 3)
        assert one_dimensional(steps, variance) == pytest.approx(limit, rel=tolerance)


def test_the_sampler_spreads_as_predicted(exact_law, exact_gaussian_model):
    """Along a direction that the constraint leaves free, `eci` is the scalar recursion.

    They differ by the signal of the first state, 1/80.
    """
    model = exact_gaussian_model(np.zeros(2), np.eye(2), EDMScheduleSpec().build())
    first_is_zero = LinearEquality(torch.tensor([[1.0, 0.0]]), torch.zeros(1))
    for steps in (10, 60):
        _, covariance, _ = exact_law(ECISpec(**ON, steps=steps), model, first_is_zero)
        assert covariance[1, 1] ** 0.5 == pytest.approx(one_dimensional(steps, 1.0), rel=0.002)
        assert abs(covariance[0]).max() < 1e-12


class Standard(Denoiser):
    """The exact denoiser of a standard normal distribution."""

    def __init__(self, schedule):
        super().__init__()
        self.schedule = schedule

    def forward(self, x_t, t):
        alpha, sigma = self.schedule(t)
        return DiracPosterior(mean=alpha / (alpha**2 + sigma**2) * x_t)


ELLIPSE = Equations(lambda x: x[:, :1] ** 2 / 4 + x[:, 1:2] ** 2 - 1)


ON_ELLIPSE = {"constraint": "ellipse", "steps": 10}


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        *((ECISpec(**ON_ELLIPSE), name) for name in SCHEDULES),
        (PCFMSpec(**ON_ELLIPSE, longest_step=1.0), "edm"),
        (PPRSpec(**ON_ELLIPSE), "vp"),
        (ProjectRenoiseSpec(**ON_ELLIPSE, repeats=1), "edm"),
    ],
    ids=lambda value: getattr(value, "kind", value),
)
def test_samples_are_on_an_ellipse(spec, name):
    x = draw(Standard(SCHEDULES[name]), spec, shape=(64, 3), constraints={"ellipse": ELLIPSE})
    assert float(ELLIPSE.residual(x).abs().max()) < 1e-5
    assert float(x[:, :2].std(0).min()) > 0.2


@pytest.mark.parametrize("constraint", [Bounds(lower=0.5), Ball(radius=1.0)], ids=["bounds", "ball"])
def test_inequalities_need_a_projection_only(constraint):
    spec = ECISpec(constraint="one", steps=10)
    x = draw(Standard(SCHEDULES["edm"]), spec, shape=(64, 3), constraints={"one": constraint})
    assert bool(constraint.satisfied(x).all())
    with pytest.raises(ValueError, match=r"`pcfm` requires equations.*use `eci` or `ppr`"):
        draw(
            Standard(SCHEDULES["edm"]),
            PCFMSpec(constraint="one", steps=10),
            shape=(4, 3),
            constraints={"one": constraint},
        )


def test_a_newton_step_solves_the_linearised_equations():
    x = torch.randn(5, 3, dtype=torch.float64)
    moved = newton_step(ELLIPSE, x)
    gradient = torch.stack([x[:, 0] / 2, 2 * x[:, 1], 0 * x[:, 2]], 1)
    h = x[:, 0] ** 2 / 4 + x[:, 1] ** 2 - 1
    expected = x - h[:, None] * gradient / gradient.square().sum(1, keepdim=True)
    torch.testing.assert_close(moved, expected, rtol=0, atol=1e-12)
    linear = LinearEquality(torch.randn(2, 3, dtype=torch.float64), torch.ones(2))
    torch.testing.assert_close(newton_step(linear, x), linear.project(x), rtol=0, atol=1e-12)
    assert newton_step(ELLIPSE, x[:0]).shape == (0, 3)


def test_the_relaxed_correction_reaches_its_minimum():
    """For h(x) = A x - k the minimum solves (I + lambda A^T A) u = start + lambda A^T (k - A ahead)."""
    matrix = torch.randn(2, 4, dtype=torch.float64)
    target = torch.tensor([1.0, -2.0], dtype=torch.float64)
    task = SamplingTask({}, {"one": LinearEquality(matrix, target)})
    context = DenoisingContext(task, DataSpace(), Costs())
    start, ahead = torch.randn(2, 6, 4, dtype=torch.float64).unbind(0)
    settings = Renoising(relaxation=Relaxation(0.7, 4000, 0.01))
    found = relaxed(start, ahead, settings, constraint="one", context=context)
    system = torch.eye(4, dtype=torch.float64) + 0.7 * matrix.T @ matrix
    expected = torch.linalg.solve(system, (start + 0.7 * (target - ahead @ matrix.T) @ matrix).T).T
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


def test_long_steps_are_shortened():
    steps = torch.tensor([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]])
    expected = torch.tensor([[0.6, 0.8], [0.3, 0.4], [0.0, 0.0]])
    torch.testing.assert_close(shortened(steps, 1.0), expected)
    assert shortened(steps, None) is steps


def test_held_noise_begins_anew_with_each_run():
    """The same sampler object, from another first state, gives what a new one would."""
    task = SamplingTask({}, {"one": LinearEquality(torch.ones(1, 3), torch.ones(1))})
    context = DenoisingContext(task, DataSpace(), Costs())
    spec = ECISpec(constraint="one", steps=5)
    states = [80 * torch.randn(4, 3) for _ in range(2)]
    sampler = spec.build(Standard(SCHEDULES["edm"]), context)
    once = [sampler(state) for state in states]
    anew = [spec.build(Standard(SCHEDULES["edm"]), context)(state) for state in states]
    assert all(torch.equal(a, b) for a, b in zip(once, anew, strict=True))


def test_states_of_the_family_can_be_projected():
    """`projected` follows the times of the sampler that it wraps, and begins its run."""
    total = LinearEquality(torch.ones(1, 3), torch.ones(1))
    task = SamplingTask({}, {"total": total})
    context = DenoisingContext(task, DataSpace(), Costs())
    inner = ECISpec(constraint="total", steps=10)
    outer = ProjectedSpec(constraint="total", base=inner).build(Standard(SCHEDULES["edm"]), context)
    own = inner.build(Standard(SCHEDULES["edm"]), context)
    torch.testing.assert_close(outer.timesteps, own.timesteps)
    assert float((outer(80 * torch.randn(4, 3)).sum(1) - 1).abs().max()) < 1e-5
