"""Residual corrections: one against its formula, many against their known rate, and where they are made."""

import math
from itertools import pairwise

import pytest
import torch
from azula.denoise import Denoiser, DiracPosterior
from azula.sample import DDIMSampler
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from plumbline.constraints import Bounds, Equations, LinearEquality
from plumbline.models.diffusion.diffusion import EDMScheduleSpec, VPScheduleSpec
from plumbline.samplers import (
    Costs,
    DDIMSpec,
    DDPMSpec,
    FinalProjectionSpec,
    HeunSpec,
    MultistepSpec,
    ResidualCorrectionSpec,
    Samples,
    SamplingTask,
    draw,
)
from plumbline.samplers._azula import DataSpace
from plumbline.samplers._denoising import CountingDenoiser, DenoisingContext
from plumbline.samplers.residual_correction import corrected

MATRIX = torch.tensor([[1.0, 2.0, 0.0, -1.0], [0.5, 0.0, 3.0, 1.0]], dtype=torch.float64)
TARGET = torch.tensor([1.0, -2.0], dtype=torch.float64)
BASE = DDIMSpec(steps=8)


class Standard(Denoiser):
    """The exact denoiser of a standard normal distribution."""

    def __init__(self, schedule=None):
        super().__init__()
        self.schedule = schedule or EDMScheduleSpec().build()

    def forward(self, x_t, t):
        alpha, sigma = self.schedule(t)
        return DiracPosterior(mean=alpha / (alpha**2 + sigma**2) * x_t)


@pytest.fixture
def equality():
    return LinearEquality(MATRIX, TARGET)


@pytest.fixture
def points():
    return torch.randn(5, 4, dtype=torch.float64)


def equality_of(matrix):
    return LinearEquality(matrix, torch.zeros(len(matrix), dtype=matrix.dtype))


def squared(constraint, x):
    return constraint.residual(x).square().sum(1)


def run(spec, schedule=None, constraint=None):
    """The samples of the exact standard normal denoiser from given noise, and their costs."""
    task = SamplingTask({"state": torch.zeros(3, 4)}, {"c": constraint or LinearEquality(MATRIX, TARGET)})
    costs = Costs()
    context = DenoisingContext(task, DataSpace(), costs)
    sampler = spec.build(CountingDenoiser(Standard(schedule), costs, lambda _: None), context)
    start = sampler.init((3, 4)).double()
    return sampler, start, sampler(start), costs


@pytest.mark.parametrize("scaled_by", ["gradient", "curvature", "none"])
def test_one_correction_is_its_formula(equality, points, scaled_by):
    residual = points @ MATRIX.mT - TARGET
    gradient = 2 * residual @ MATRIX
    along = gradient @ MATRIX.mT
    length = {
        "gradient": 1 / gradient.abs().amax(1),
        "curvature": gradient.square().sum(1) / (2 * along.square().sum(1)),
        "none": torch.ones(5, dtype=torch.float64),
    }[scaled_by]
    found = corrected(points, equality, step=0.03, scaled_by=scaled_by)
    torch.testing.assert_close(found, points - 0.03 * length[:, None] * gradient, rtol=0, atol=1e-13)


def test_the_published_step_moves_the_steepest_coordinate_by_its_length(points):
    ellipse = Equations(lambda x: x[:, :2] ** 2 / 4 + x[:, 2:] ** 2 - 1)
    moved = corrected(points, ellipse, step=2e-3, scaled_by="gradient") - points
    torch.testing.assert_close(moved.abs().amax(1), torch.full((5,), 2e-3).double())


MATRICES = st.lists(st.lists(st.floats(-3, 3), min_size=4, max_size=4), min_size=3, max_size=3).map(
    lambda rows: torch.tensor(rows, dtype=torch.float64)
)


@settings(max_examples=50, deadline=None)
@given(MATRICES, st.floats(0.01, 0.99), st.lists(st.floats(-5, 5), min_size=4, max_size=4))
def test_small_steps_reduce_every_residual(matrix, fraction, x):
    """Below 1 / (largest eigenvalue of A A^T) without scaling, and below two with `curvature`."""
    rows = Equations(lambda x: x @ matrix.to(x).mT - 1)
    points = torch.tensor([x], dtype=torch.float64)
    largest = max(float(torch.linalg.matrix_norm(matrix, 2)) ** 2, 1e-6)
    for scaled_by, step in (("none", fraction / largest), ("curvature", 2 * fraction)):
        before = squared(rows, points)
        after = squared(rows, corrected(points, rows, step=step, scaled_by=scaled_by))
        assert float(after) <= float(before) * (1 + 1e-12)
        gradient = 2 * rows.residual(points) @ matrix
        if float(gradient.norm()) > 1e-3 * (1 + float(before)):
            assert float(after) < float(before)


def test_a_nonlinear_residual_decreases_with_each_small_step(points):
    ellipse = Equations(lambda x: x[:, :2] ** 2 / 4 + x[:, 2:] ** 2 - 1)
    x, sizes = points, [squared(ellipse, points)]
    for _ in range(50):
        x = corrected(x, ellipse, step=1e-3, scaled_by="none")
        sizes.append(squared(ellipse, x))
    assert (torch.stack(sizes).diff(dim=0) < 0).all()


def test_final_corrections_converge_at_the_rate_of_gradient_descent(equality, points):
    """(I - 2 eps A A^T)^M maps the first residual to the last."""
    spec = ResidualCorrectionSpec(
        constraint="c", base=BASE, last_steps=0, corrections=30, scaled_by="none", final_step=0.02
    )
    task = SamplingTask({"state": points}, {"c": equality})
    drawn = Samples(points, {}, Costs())
    finished = spec.finish(drawn, task)
    once = torch.eye(2, dtype=torch.float64) - 2 * 0.02 * MATRIX @ MATRIX.mT
    expected = equality.residual(points) @ torch.linalg.matrix_power(once, 30)
    torch.testing.assert_close(equality.residual(finished.state), expected, rtol=1e-9, atol=1e-12)
    assert finished.costs.projection_solves == 30


def test_line_searches_converge_at_kantorovichs_rate():
    """From the worst start, |r|^2 shrinks by ((kappa - 1) / (kappa + 1))^2 in each correction."""
    matrix = torch.diag(torch.tensor([1.0, 3.0], dtype=torch.float64))
    rows = equality_of(matrix)
    kappa = 9.0
    x = torch.tensor([[kappa, 1.0]], dtype=torch.float64)
    for _ in range(10):
        before = squared(rows, x)
        x = corrected(x, rows, step=1.0, scaled_by="curvature")
        torch.testing.assert_close(squared(rows, x) / before, ((kappa - 1) / (kappa + 1)) ** 2 + 0 * before)


def test_feasible_samples_stay(equality, points):
    feasible = equality.project(points)
    inside = Bounds(torch.full((4,), -100.0), torch.full((4,), 100.0))
    for scaled_by in ("curvature", "none"):
        found = corrected(feasible, equality, step=0.1, scaled_by=scaled_by)
        torch.testing.assert_close(found, feasible, rtol=0, atol=1e-12)
    for scaled_by in ("gradient", "curvature", "none"):
        assert torch.equal(corrected(points, inside, step=0.1, scaled_by=scaled_by), points)


@pytest.mark.parametrize("schedule", [EDMScheduleSpec(), VPScheduleSpec()], ids=lambda one: one.kind)
def test_the_last_states_are_corrected_and_no_others(schedule, equality):
    built = schedule.build()
    spec = ResidualCorrectionSpec(constraint="c", base=BASE, last_steps=3, step=0.05)
    _, start, found, costs = run(spec, built)
    plain = DDIMSampler(Standard(built), steps=8, silent=True)
    x = start
    for i, (t, s) in enumerate(pairwise(plain.timesteps)):
        x = plain.step(x, t, s)
        if i >= 5:
            alpha, _ = built(s)
            x = alpha * corrected(x / alpha, equality, step=0.05, scaled_by="gradient")
    torch.testing.assert_close(found, x, rtol=0, atol=1e-12)
    assert costs.projection_solves == 3 and costs.network_evaluations == 8


@pytest.mark.parametrize("base", [BASE, HeunSpec(steps=8), MultistepSpec(steps=8)], ids=lambda one: one.kind)
def test_the_last_estimates_are_corrected_and_no_others(base, equality):
    """Also where the steps depend on each other. The last evaluation is one of them."""
    keys = {"constraint": "c", "base": base, "corrected": "estimate", "last_steps": 3, "step": 0.05}
    sampler, _, _, costs = run(ResidualCorrectionSpec(**keys))
    times = sampler.timesteps.double()
    at = torch.randn(3, 4, dtype=torch.float64)
    for i, t in enumerate(times):
        mean = Standard()(at, t).mean
        expected = corrected(mean, equality, step=0.05, scaled_by="gradient") if i >= 5 else mean
        torch.testing.assert_close(sampler.denoiser(at, t).mean, expected, rtol=0, atol=1e-12)
    # Heun's method evaluates at the end of the step before, too, whose noise level is one of these.
    solves = {"ddim": 3, "heun": 7, "multistep": 3}[base.kind]
    assert costs.projection_solves - 4 == solves
    assert costs.backward_passes == 0


def test_a_base_with_fewer_steps_is_corrected_in_all():
    assert run(ResidualCorrectionSpec(constraint="c", base=BASE, last_steps=50))[3].projection_solves == 8


def test_states_of_a_multistep_method_are_refused():
    with pytest.raises(ValueError, match="takes single steps of its base"):
        run(ResidualCorrectionSpec(constraint="c", base=MultistepSpec(steps=8)))


def test_nothing_to_correct_is_refused():
    with pytest.raises(ValidationError, match="nothing would be corrected"):
        ResidualCorrectionSpec(constraint="c", base=BASE, last_steps=0, corrections=0)


def test_targets_of_each_sample_are_its_own(points):
    """A sample of a batch, bound to its own target, moves as it would alone."""
    targets = torch.randn(5, 2, dtype=torch.float64)
    bound = LinearEquality(MATRIX, targets)
    together = corrected(points, bound, step=0.01, scaled_by="curvature")
    for i in range(5):
        alone = corrected(
            points[i : i + 1], LinearEquality(MATRIX, targets[i]), step=0.01, scaled_by="curvature"
        )
        torch.testing.assert_close(together[i], alone[0], rtol=0, atol=1e-13)


def test_some_channels_move_and_the_others_stay():
    """With the pressure as the only variable, a correction is that of the problem in the pressure alone."""
    product = Equations(lambda x: (x[:, 0] * x[:, 1]).flatten(1) - 1)
    x = torch.randn(3, 2, 6, dtype=torch.float64)
    found = corrected(x, product, step=0.5, scaled_by="curvature", channels=(0,))
    assert torch.equal(found[:, 1], x[:, 1]) and not torch.equal(found[:, 0], x[:, 0])
    alone = Equations(lambda p: p * x[:, 1].to(p) - 1)
    torch.testing.assert_close(found[:, 0], corrected(x[:, 0], alone, step=0.5, scaled_by="curvature"))


def test_a_channel_that_is_not_there_is_refused(equality, points):
    spec = ResidualCorrectionSpec(constraint="c", base=BASE, channels=(1, 7))
    with pytest.raises(ValueError, match=r"`channels` .* 0 to 3, found 7"):
        spec.finish(Samples(points, {}, Costs()), SamplingTask({"state": points}, {"c": equality}))


def test_corrected_samples_are_nearer_and_can_be_projected(exact_gaussian):
    """The residual of samples of a Gaussian falls below a tenth, and the projection comes last."""
    total = LinearEquality(torch.ones(1, 2), torch.tensor([2.0]))
    denoiser = exact_gaussian([0.0, 0.0], 1.0).denoiser
    base = DDPMSpec(steps=32)
    spec = ResidualCorrectionSpec(
        constraint="total", base=base, last_steps=8, scaled_by="curvature", step=0.3, final_step=0.5
    )
    left = {}
    for name, one in {"free": base, "corrected": spec}.items():
        torch.manual_seed(0)
        x = draw(denoiser, one, shape=(200, 2), constraints={"total": total})
        left[name] = float((x.sum(1) - 2).abs().mean())
    assert left["corrected"] < 1e-2 * left["free"] and math.isfinite(left["free"])
    projected = FinalProjectionSpec(constraint="total", base=spec)
    x = draw(denoiser, projected, shape=(20, 2), constraints={"total": total})
    assert float(total.violation(x).max()) < 1e-6
