"""Training with a residual: the losses and gradients of PIDM and PBFM against closed forms."""

import itertools
import json
import math
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
import xarray as xr
from conflictfree.grad_operator import ConFIG_update
from torch import nn

from plumbline.constraints import Bounds, Sphere
from plumbline.estimation import first_samples
from plumbline.estimation._models import Models
from plumbline.models import BuildContext
from plumbline.models.diffusion._conflict_free import ConflictFree, conflict_free
from plumbline.models.diffusion._estimates import NoisyBatch
from plumbline.models.diffusion._parametrisations import PreconditionedDenoiser, VelocityDenoiser
from plumbline.models.diffusion._virtual_observations import VirtualObservations, posterior_variance
from plumbline.models.diffusion.diffusion import (
    DiffusionSpec,
    RectifiedScheduleSpec,
    VPScheduleSpec,
    VPSDEScheduleSpec,
)
from plumbline.models.mirror.analytic_mirror import AnalyticMirrorSpec
from plumbline.plan import Plan
from plumbline.study import Study
from plumbline.training import TrainingSpec
from plumbline.training.feed import InMemory
from plumbline.training.loop import train

SCHEDULES = [VPSDEScheduleSpec().build(), RectifiedScheduleSpec().build()]
CIRCLE = Sphere(1.0)


def identity(n):
    return torch.eye(n, dtype=torch.float64)


class Linear(nn.Module):
    """A linear network in double precision, whatever the noise level."""

    def __init__(self, matrix):
        super().__init__()
        self.matrix = nn.Parameter(matrix.double())

    def forward(self, x, level):
        return x @ self.matrix.mT


def batch_of_moments(denoiser, covariance, t, residual, size=12):
    """A batch at one time, of samples and noise with zero means and the covariances C, I, and zero across."""
    n = len(covariance)
    columns = torch.cat([torch.ones(size, 1), torch.randn(size, 2 * n)], dim=1).double()
    z, noise = (math.sqrt(size) * torch.linalg.qr(columns)[0][:, 1:]).split(n, dim=1)
    z = z @ torch.linalg.cholesky(covariance).mT
    times = torch.full((size,), t, dtype=torch.float64)
    return NoisyBatch(denoiser, z, noise, times, {}, residual)


def matrix_of(denoiser, t, n):
    """A of the estimate A x_t of a linear denoiser, which depends on the weights."""
    return denoiser(identity(n), torch.tensor(t, dtype=torch.float64)).mean.mT


@pytest.mark.parametrize("t", [0.005, 0.3, 0.9])
@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda one: type(one).__name__)
@pytest.mark.parametrize("kind", [PreconditionedDenoiser, VelocityDenoiser])
def test_the_loss_of_a_linear_problem_is_the_closed_form(kind, schedule, t):
    r"""For x ~ (0, C), an estimate A x_t and r(x) = B x - k,

    L = w / n tr(A S A^T - 2 alpha A C + C) + c / (2 m Sigma) (tr(B A S A^T B^T) + |k|^2),

    with S = alpha^2 C + sigma^2 I. The batch has these moments exactly, so that values and gradients agree
    to rounding. The gradient vanishes at the closed-form optimum.
    """
    torch.manual_seed(0)
    n, weight = 3, 0.05
    root = torch.randn(n, n, dtype=torch.float64)
    c = root @ root.mT + 0.1 * identity(n)
    b, k = torch.randn(2, n, dtype=torch.float64), torch.tensor([0.3, -0.8], dtype=torch.float64)
    denoiser = kind(Linear(torch.randn(n, n)), schedule)
    batch = batch_of_moments(denoiser, c, t, lambda x: x @ b.mT - k)
    loss, terms = VirtualObservations(weight=weight).loss(batch)

    alpha, sigma = schedule(torch.tensor(t, dtype=torch.float64))
    variance = posterior_variance(schedule, torch.tensor([t], dtype=torch.float64), 100)[0]
    snr = (alpha / sigma).square().clamp(max=5)
    s = alpha**2 * c + sigma**2 * identity(n)

    def closed(a):
        data = snr / n * torch.trace(a @ s @ a.mT - 2 * alpha * a @ c + c)
        return data + weight / (2 * 2 * variance) * (torch.trace(b @ a @ s @ a.mT @ b.mT) + k @ k)

    parameter = denoiser.backbone.matrix
    expected = closed(matrix_of(denoiser, t, n))
    torch.testing.assert_close(loss, expected, rtol=1e-9, atol=1e-12)
    ours, theirs = (torch.autograd.grad(one, parameter)[0] for one in (loss, expected))
    torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-10)
    assert float(ours.norm()) > 1e-3

    # (2 w / n I + c / (m Sigma) B^T B) A S = 2 w / n alpha C
    left = 2 * snr / n * identity(n) + weight / (2 * variance) * b.mT @ b
    optimum = torch.linalg.solve(left, 2 * snr / n * alpha * c) @ torch.linalg.inv(s)
    before = matrix_of(denoiser, t, n).detach()
    slope = torch.autograd.functional.jacobian(closed, before)
    at_optimum = torch.autograd.functional.jacobian(closed, optimum)
    assert float(at_optimum.norm()) < 1e-9 * float(slope.norm())
    # The network that gives the optimal A: A depends on it affinely, with one factor.
    with torch.no_grad():
        parameter.zero_()
        base = matrix_of(denoiser, t, n)
        parameter.copy_(identity(n))
        factor = (matrix_of(denoiser, t, n) - base)[0, 0]
        parameter.copy_((optimum - base) / factor)
    batch = NoisyBatch(denoiser, batch.z, batch.noise, batch.t, {}, batch.residual)
    best, _ = VirtualObservations(weight=weight).loss(batch)
    assert best.item() < loss.item()
    assert float(torch.autograd.grad(best, parameter)[0].norm()) < 1e-8 * float(ours.norm())
    assert terms["residual"] > 0


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda one: type(one).__name__)
def test_the_sample_is_that_of_the_deterministic_steps(schedule):
    """For a linear denoiser the estimate is a product of matrices, of which the residual is taken."""
    torch.manual_seed(0)
    n, t, steps = 2, 0.4, 50
    c = torch.tensor([[1.0, 0.3], [0.3, 0.5]], dtype=torch.float64)
    denoiser = PreconditionedDenoiser(Linear(torch.randn(n, n)), schedule)
    batch = batch_of_moments(denoiser, c, t, lambda x: x)
    for evaluations in (2, 3):
        loss = VirtualObservations(
            weight=1.0, estimate="sample", evaluations=evaluations, steps=steps, snr_cap=None
        )
        total, _ = loss.loss(batch)
        state = identity(n)
        times = torch.linspace(t, 1 / steps, evaluations, dtype=torch.float64)
        for now, then in itertools.pairwise(times):
            (a1, s1), (a2, s2) = schedule(now), schedule(then)
            mean = matrix_of(denoiser, float(now), n) @ state
            state = a2 * mean + s2 / s1 * (state - a1 * mean)
        estimate = matrix_of(denoiser, 1 / steps, n) @ state
        alpha, sigma = schedule(torch.tensor(t, dtype=torch.float64))
        s = alpha**2 * c + sigma**2 * identity(n)
        variance = posterior_variance(schedule, torch.tensor([t], dtype=torch.float64), steps)[0]
        penalty = torch.trace(estimate @ s @ estimate.mT) / (2 * n * variance)
        own, _ = batch.loss_and_mean()
        torch.testing.assert_close(total - own, penalty, rtol=1e-9, atol=0)


def test_one_evaluation_is_the_mean():
    denoiser = PreconditionedDenoiser(Linear(torch.randn(2, 2)), SCHEDULES[0])
    batch = batch_of_moments(denoiser, identity(2), 0.5, lambda x: x)
    _, mean = batch.loss_and_mean()
    for loss in (VirtualObservations(weight=1.0), ConflictFree(unroll=1, training_steps=10)):
        (only,) = loss.times(batch.t)
        assert torch.equal(only, batch.t)
        assert batch.estimate(mean, [only]) is mean


def test_unrolling_a_flow_is_eulers_method():
    """On a straight path without an offset, from t to zero in equal steps."""
    schedule = RectifiedScheduleSpec(alpha_min=1e-12, sigma_min=1e-12).build()
    denoiser = VelocityDenoiser(Linear(torch.randn(2, 2)), schedule)
    batch = batch_of_moments(denoiser, identity(2), 0.7, lambda x: x)
    loss = ConflictFree(unroll=4, training_steps=8)
    loss.go_to(7)
    times = loss.times(batch.t)
    torch.testing.assert_close(times[-1], batch.t / 4)
    x, step = 0.3 * batch.z + 0.7 * batch.noise, 0.7 / 4
    for k in range(4):
        x = x - step * denoiser.velocity(x, torch.tensor(0.7 - k * step, dtype=torch.float64))
    found = batch.estimate(batch.loss_and_mean()[1], times)
    torch.testing.assert_close(found, x, rtol=0, atol=1e-10)


def test_the_unrolling_grows_in_equal_parts():
    loss = ConflictFree(unroll=4, training_steps=8)
    lengths = []
    for _ in range(9):
        lengths.append(loss.length())
        loss.after_step()
    assert lengths == [1, 1, 2, 2, 3, 3, 4, 4, 4]
    resumed = ConflictFree(unroll=4, training_steps=8)
    loss.go_to(5)
    resumed.load_state_dict(loss.state_dict())
    assert resumed.length() == 3


def test_the_variance_is_that_of_the_discrete_process():
    """beta_t (1 - abar_{t-1}) / (1 - abar_t) of Ho et al. (2020); the first level has that of the second."""
    steps = 100
    schedule = VPSDEScheduleSpec(first_time=1e-9).build()
    t = torch.arange(1, steps + 1, dtype=torch.float64) / steps
    abar = schedule(torch.cat([torch.zeros(1, dtype=torch.float64), t]))[0].square()
    beta = 1 - abar[1:] / abar[:-1]
    expected = beta * (1 - abar[:-1]) / (1 - abar[1:])
    expected[0] = expected[1]
    torch.testing.assert_close(posterior_variance(schedule, t, steps), expected, rtol=1e-6, atol=0)


def dataset(states, **more):
    return xr.Dataset({"state": (("sample", "coordinate"), np.asarray(states, np.float32)), **more})


def circle(count):
    x = torch.randn(count, 2)
    return x / x.norm(dim=1, keepdim=True)


CIRCLE_STATES = circle(64)


def model_of(residual, constraint=CIRCLE, states=None, **keys):
    states = CIRCLE_STATES if states is None else states
    spec = DiffusionSpec.model_validate({"kind": "diffusion", "network": SMALL, "residual": residual, **keys})
    torch.manual_seed(0)
    model = spec.build(BuildContext(dataset(states[:1].numpy()), {"c": constraint}))
    model.prepare({"state": states})
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.05 * torch.randn_like(p))
    return model.train()


SMALL = {"kind": "mlp", "width": 16, "blocks": 1}
PIDM = {"kind": "virtual_observations", "constraint": "c"}
PBFM = {"kind": "conflict_free", "constraint": "c"}
FLOW = {"schedule": {"kind": "rectified"}, "parametrisation": "velocity"}


def gradients(model, states, **more):
    """The loss of a batch with the noise of one seed, its terms, and the gradient by parameter."""
    model.zero_grad()
    torch.manual_seed(1)
    loss, terms = model.loss({"state": states, **more})
    loss.backward()
    return (
        loss.detach(),
        terms,
        {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None},
    )


def test_a_weight_of_zero_leaves_the_gradient_as_it_is():
    states = CIRCLE_STATES
    _, _, plain = gradients(model_of(None), states)
    for estimate in ("mean", "sample"):
        informed = model_of({**PIDM, "weight": 0.0, "snr_cap": None, "estimate": estimate})
        _, terms, found = gradients(informed, states)
        assert terms["residual"] > 0
        assert all(torch.equal(found[name], value) for name, value in plain.items())


@pytest.mark.parametrize("device_noise", [None, {"kind": "gaussian_field", "grid_dimensions": 1}])
def test_the_residual_is_one_of_decoded_estimates_in_the_data_unit(device_noise):
    """With a noise level of nearly zero, the estimate is the sample: its residual is |x| - 1 of raw data."""
    states = 3 + 5 * torch.randn(64, 2)
    schedule = {"kind": "vp_sde", "first_time": 1e-7, "beta_max": 0.1001}
    extra = {"noise": {**device_noise, "length": 0.3}} if device_noise else {}
    model = model_of(
        {**PIDM, "snr_cap": None}, states=states, scaling="per_feature", schedule=schedule, **extra
    )
    model.schedule.training_times = torch.zeros_like
    _, terms, _ = gradients(model, states)
    expected = float((states.norm(dim=1) - 1).abs().mean())
    assert float(terms["residual"]) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("residual", [PIDM, {**PIDM, "estimate": "sample"}, PBFM])
def test_targets_of_a_batch_are_bound(residual):
    """Samples on circles with their own radii have no residual at a noise level of nearly zero."""
    radius = torch.rand(64) + 0.5
    states = radius[:, None] * circle(64)
    model = model_of(
        residual,
        Sphere("radius"),
        states,
        schedule={"kind": "vp_sde", "first_time": 1e-7, "beta_max": 0.1001},
    )
    model.schedule.training_times = torch.zeros_like
    _, terms, _ = gradients(model, states, radius=radius)
    assert float(terms["residual"]) < 1e-3
    _, terms, _ = gradients(model, states, radius=radius + 0.2)
    assert float(terms["residual"]) == pytest.approx(0.2, abs=1e-3)


@pytest.mark.parametrize("residual", [PIDM, PBFM])
def test_an_inequality_is_penalised_only_where_it_does_not_hold(residual):
    states = CIRCLE_STATES
    far, near = (model_of(residual, Bounds(upper=upper)) for upper in (100.0, 0.0))
    assert gradients(far, states)[1]["residual"] == 0
    assert gradients(near, states)[1]["residual"] > 0
    far_gradient, plain = (gradients(m, states)[2] for m in (far, model_of(None)))
    if residual is PBFM:  # the other gradient is zero
        for name, value in plain.items():
            torch.testing.assert_close(far_gradient[name], value)


@pytest.mark.parametrize("residual", [PIDM, PBFM])
def test_a_model_in_a_mirror_space_has_the_residual_of_decoded_samples(residual):
    """Positive samples of a fixed sum, whose mirror map is the logarithm; the bound is in the data's unit."""
    states = (0.3 * torch.randn(64, 3)).softmax(1)
    context = BuildContext(dataset(states[:1].numpy()))
    mirror = AnalyticMirrorSpec(set={"kind": "simplex", "total": 1.0}).build(context)
    mirror.prepare({"state": states})
    mirror.requires_grad_(False)
    spec = DiffusionSpec(
        network=SMALL, space="m", residual=residual, schedule={"kind": "vp_sde", "first_time": 1e-7}
    )
    model = spec.build(BuildContext(context.example, {"c": Bounds(upper=0.2)}, {"m": mirror}))
    model.prepare({"state": states})
    model.schedule.training_times = torch.zeros_like
    _, terms, found = gradients(model, states)
    expected = float((states - 0.2).clamp(min=0).mean())
    assert float(terms["residual"]) == pytest.approx(expected, rel=1e-2)
    assert all(name.startswith("denoiser") for name in found)


def test_the_penalty_cap_removes_gradients_of_large_residuals():
    states = CIRCLE_STATES
    _, _, plain = gradients(model_of({**PIDM, "weight": 0.0}), states)
    _, _, capped = gradients(model_of({**PIDM, "weight": 1.0, "penalty_cap": 1e-12}), states)
    for name, value in plain.items():
        torch.testing.assert_close(capped[name], value, rtol=1e-5, atol=1e-7)


# Conflict-free gradients.


@pytest.mark.parametrize("dim", [2, 5, 40])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_the_merged_gradient_is_that_of_config(dim, scale):
    """Its defining properties, the least-squares solution, and the published package."""
    torch.manual_seed(dim)
    for _ in range(20):
        first, second = torch.randn(2, dim, dtype=torch.float64).unbind(0)
        second = scale * second
        (merged,) = conflict_free([first], [second])
        products = [float(merged @ g) for g in (first, second)]
        assert min(products) > 0
        cosines = [float(merged @ g / merged.norm() / g.norm()) for g in (first, second)]
        assert cosines[0] == pytest.approx(cosines[1], rel=1e-9)
        assert float(merged.norm()) == pytest.approx(sum(products) / float(merged.norm()), rel=1e-9)
        units = torch.stack([first / first.norm(), second / second.norm()])
        direction = torch.linalg.pinv(units) @ torch.ones(2, dtype=torch.float64)
        direction /= direction.norm()
        expected = (first @ direction + second @ direction) * direction
        torch.testing.assert_close(merged, expected, rtol=1e-8, atol=1e-10)
        theirs = ConFIG_update([first.float(), second.float()])
        torch.testing.assert_close(merged.float(), theirs, rtol=1e-4, atol=1e-4 * float(merged.norm()))


def test_the_merged_gradient_at_the_ends():
    """One of zero leaves the other; opposite ones leave none; parts belong to one vector."""
    g, zero = torch.randn(6), torch.zeros(6)
    torch.testing.assert_close(conflict_free([g], [zero])[0], g)
    torch.testing.assert_close(conflict_free([zero], [g])[0], g)
    assert torch.equal(conflict_free([zero], [zero])[0], zero)
    assert float(conflict_free([g], [-3 * g])[0].norm()) < 1e-6
    h = torch.randn(6)
    whole = conflict_free([g], [h])[0]
    parts = conflict_free([g[:2], g[2:]], [h[:2], h[2:]])
    torch.testing.assert_close(torch.cat(parts), whole)


def losses_of(model, states):
    """The two losses of a batch with the noise of one seed."""
    torch.manual_seed(1)
    kept = []
    own = model.residual_loss

    class Kept:
        def loss(self, batch):
            denoising, mean = batch.loss_and_mean()
            residual = batch.residual(batch.estimate(mean, own.times(batch.t))).flatten(1).abs().mean(1)
            alpha, sigma = batch.denoiser.schedule(batch.t)
            kept.extend([denoising, (alpha / (alpha + sigma) * residual).mean()])
            return denoising, {}

    del model.residual_loss
    object.__setattr__(model, "residual_loss", Kept())
    model.loss({"state": states})
    del model.residual_loss
    model.residual_loss = own
    return kept


@pytest.mark.parametrize("keys", [FLOW, {}], ids=["flow", "edm"])
def test_a_step_along_the_merged_gradient_decreases_both_losses(keys):
    """The scalar's gradient is that of ConFIG, its value the sum of both losses, for each unrolled length."""
    states = CIRCLE_STATES
    model = model_of({**PBFM, "unroll": 3}, training={"steps": 3}, **keys)
    for step in range(3):
        model.go_to(step)
        value, terms, merged = gradients(model, states)
        parts = losses_of(model, states)
        names = [n for n, _ in model.named_parameters()]
        each = [torch.autograd.grad(one, list(model.parameters()), retain_graph=True) for one in parts]
        expected = conflict_free(*map(list, each))
        for name, wanted in zip(names, expected, strict=True):
            torch.testing.assert_close(merged[name], wanted, rtol=1e-4, atol=1e-6)
        assert float(value) == pytest.approx(float(parts[0] + parts[1]), rel=1e-5)
        assert float(terms["denoising"]) == pytest.approx(float(parts[0]), rel=1e-6)
        slopes = [sum(float((merged[n] * g).sum()) for n, g in zip(names, one, strict=True)) for one in each]
        assert min(slopes) > 0
        with torch.no_grad():
            for name, p in model.named_parameters():
                p -= 1e-4 * merged[name]
        after = losses_of(model, states)
        for before, now, slope in zip(parts, after, slopes, strict=True):
            assert float(before - now) == pytest.approx(1e-4 * slope, rel=0.2)
    with torch.no_grad():
        assert not model.eval().loss({"state": states})[0].requires_grad


class CircleDenoiser(nn.Module):
    """The exact denoiser of uniform points on the unit circle, times 1 + f.

    E[x | x_t] = x_t / |x_t| I_1(k) / I_0(k), with k = alpha |x_t| / sigma^2 (von Mises).
    """

    def __init__(self, schedule):
        super().__init__()
        self.schedule = schedule
        self.factor = nn.Parameter(torch.zeros((), dtype=torch.float64))

    def forward(self, x_t, t):
        alpha, sigma = (one.reshape(-1, 1) for one in self.schedule(t))
        size = x_t.norm(dim=1, keepdim=True)
        k = alpha * size / sigma**2
        ratio = torch.special.i1e(k) / torch.special.i0e(k)
        return type("Posterior", (), {"mean": (1 + self.factor) * ratio * x_t / size})

    def loss_and_mean(self, z, noise, t):
        alpha, sigma = (one.reshape(-1, 1) for one in self.schedule(t))
        mean = self(alpha * z + sigma * noise, t).mean
        return (mean - z).square().mean(), mean


def test_jensens_gap_on_the_circle():
    """The exact denoiser has a residual where its mean is taken, though its samples have none.

    PIDM with the mean therefore moves the minimum of its loss away from the exact denoiser, to means that
    are too long, and PIDM with the sample does so by less than a tenth of that. Both losses see the same
    4,000 draws.
    """
    torch.manual_seed(0)
    schedule = VPScheduleSpec().build()
    denoiser = CircleDenoiser(schedule)
    z = circle(4000).double()
    t = 0.2 + 0.5 * torch.rand(4000, dtype=torch.float64)
    batch = NoisyBatch(denoiser, z, torch.randn_like(z), t, {}, CIRCLE.residual)
    moved, residuals = {}, {}
    for estimate in ("mean", "sample"):
        loss = VirtualObservations(weight=0.1, estimate=estimate)
        residuals[estimate] = float(loss.loss(batch)[1]["residual"])
        values = []
        for factor in np.linspace(-0.3, 0.9, 25):
            denoiser.factor.data.fill_(factor)
            values.append(loss.loss(batch)[0].item())
        denoiser.factor.data.zero_()
        moved[estimate] = float(np.linspace(-0.3, 0.9, 25)[int(np.argmin(values))])
    assert residuals["mean"] > 0.2 and residuals["sample"] < 0.02
    assert moved["mean"] > 0.1
    assert abs(moved["sample"]) <= 0.1 * moved["mean"]


# Models in studies and trainings.

STUDY = {
    "name": "informed",
    "title": "Informed",
    "description": "A model that is trained with a residual.",
    "dataset": {"kind": "gaussian", "splits": {"train": 16, "validation": 4, "test": 4}},
    "models": {"informed": {"kind": "diffusion", **FLOW, "network": {"kind": "mlp"}, "residual": PBFM}},
    "methods": {"one": {"model": "informed", "sampler": {"kind": "flow"}}},
    "metrics": {"mmd": {"kind": "mmd"}},
    "samples": {"count": 4},
    "seeds": [0],
    "constraints": {"c": {"kind": "linear_equality", "matrix": "matrix", "target": "target"}},
}


def test_the_constraint_of_a_model_must_be_there_and_retrains_it():
    def name(**constraint):
        constraints = {"c": {**STUDY["constraints"]["c"], **constraint}, "d": {"kind": "sum", "total": 1.0}}
        return Plan(Study.model_validate({**STUDY, "constraints": constraints})).trained_name("informed")

    assert name() == name()
    assert name() != name(target="other")
    with pytest.raises(
        ValueError, match=r"models\.informed\.residual\.constraint: there is no constraint 'c'"
    ):
        Study.model_validate({**STUDY, "constraints": {}})


def test_loss_scaling_does_not_reach_gradients_within_the_loss():
    with pytest.raises(ValueError, match="`bf16-mixed` or `32-true`"):
        DiffusionSpec(network={"kind": "mlp"}, residual=PBFM, training={"precision": "16-mixed"})


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "64-true"])
@pytest.mark.parametrize("residual", [{**PIDM, "weight": 0.1, "estimate": "sample"}, PBFM])
def test_a_training_lowers_both_terms(residual, precision, tmp_path):
    """With the real loop, its clipping and its moving average."""
    states = circle(512)
    model = model_of(residual, states=states, training={"steps": 200}, **FLOW)
    _, before, _ = gradients(model, states)
    training = TrainingSpec(steps=200, batch=128, accelerator="cpu", precision=precision, ema=0.9)
    trained = train(model, InMemory({"state": states}), training, seed=0, folder=tmp_path, identity="a")
    with torch.no_grad():
        torch.manual_seed(1)
        _, after = trained.float().loss({"state": states})
    for name in ("denoising", "residual"):
        assert float(after[name]) < 0.9 * float(before[name]), name


def test_the_estimate_counts_the_longest_unrolling():
    """On fake tensors: four evaluations and their gradients take four times the products of one."""
    flops = {}
    for unroll in (1, 4):
        models = {"informed": {**STUDY["models"]["informed"], "residual": {**PBFM, "unroll": unroll}}}
        study = Study.model_validate({**STUDY, "models": models})
        counted = Models(Plan(study), first_samples(study.dataset).samples).training("informed")
        assert not counted.real
        flops[unroll] = counted.step.flops
    # The loss of the model differentiates one evaluation, and the residual all of them.
    assert flops[4] / flops[1] == pytest.approx((4 + 2 * (1 + 4)) / (1 + 2 * (1 + 1)), rel=0.1)


COMPILED = """
import json, sys
import numpy as np, torch, xarray as xr
from plumbline.constraints import Sphere
from plumbline.models import BuildContext
from plumbline.models.diffusion.diffusion import DiffusionSpec
from plumbline.training import TrainingSpec
from plumbline.training.feed import InMemory
from plumbline.training.loop import train

torch.manual_seed(0)
states = torch.nn.functional.normalize(torch.randn(64, 2))
example = xr.Dataset({"state": (("sample", "coordinate"), states[:1].numpy())})
for residual in json.loads(sys.argv[2]):
    spec = DiffusionSpec.model_validate({**json.loads(sys.argv[3]), "residual": residual})
    weights = []
    for compiled in (False, True):
        torch.manual_seed(0)
        model = spec.build(BuildContext(example, {"c": Sphere(1.0)}))
        model.prepare({"state": states})
        training = TrainingSpec(steps=4, batch=32, accelerator="cpu", compile=compiled, ema=0.5, warmup=0)
        folder = f"{sys.argv[1]}/{residual['kind']}-{compiled}"
        trained = train(model, InMemory({"state": states}), training, seed=0, folder=folder, identity="a")
        weights.append(trained.state_dict())
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, rtol=1e-3, atol=1e-4)
"""


@pytest.mark.slow
def test_a_compiled_training_is_the_eager_one(tmp_path):
    """To the rounding of four steps, with two unrolled lengths; in a process without checks of shapes."""
    residuals = [{**PIDM, "estimate": "sample"}, {**PBFM, "unroll": 2}]
    keys = {"kind": "diffusion", "network": SMALL, "training": {"steps": 4}, **FLOW}
    done = ran(tmp_path, COMPILED, json.dumps(residuals), json.dumps(keys))
    assert done.returncode == 0, done.stderr


def ran(folder, script, *arguments):
    file = folder / "script.py"
    file.write_text(script)
    return subprocess.run(
        [sys.executable, str(file), str(folder / "model"), *arguments], capture_output=True, text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"}, timeout=600,
    )  # fmt: skip


TWO_PROCESSES = """
import os, sys
from pathlib import Path
import torch
from torch import nn
from plumbline.models.diffusion._conflict_free import conflict_free, gradient, of_all_processes
from plumbline.training import TrainingSpec
from plumbline.training.feed import InMemory
from plumbline.training.loop import train

class Two(nn.Module):
    '''Two losses of a vector, each with another gradient in each process; the merged one is kept.'''

    def __init__(self):
        super().__init__()
        self.x = nn.Parameter(torch.tensor([0.3, -0.2, 0.5]))
        self.register_buffer("kept", torch.zeros(3))

    def loss(self, batch):
        rank = torch.distributed.get_rank()
        first = (self.x * torch.tensor([1.0, 4.0 * rank, 0.0])).sum()
        second = (self.x * torch.tensor([-2.0 * (1 - rank), 0.0, 1.0])).sum()
        merged, = conflict_free(*(of_all_processes(gradient(one, [self.x])) for one in (first, second)))
        surrogate = (self.x * merged).sum()
        return surrogate, {"kept": merged.norm()}

    def after_step(self, terms):
        self.kept.copy_(self.x.grad)

spec = TrainingSpec(steps=1, batch=2, devices=2, accelerator="cpu", gradient_clip=0.0, ema=0.0)
model = train(Two(), InMemory({"state": torch.zeros(4, 1)}), spec, seed=0, folder=sys.argv[1], identity="a")
Path(sys.argv[1]).with_name(f"kept-{os.getpid()}").write_text(" ".join(map(str, model.kept.tolist())))
"""


@pytest.mark.slow
def test_gradients_of_two_processes_are_averaged_before_they_are_merged(tmp_path):
    done = ran(tmp_path, TWO_PROCESSES)
    assert done.returncode == 0, done.stderr
    found = [[float(v) for v in file.read_text().split()] for file in tmp_path.glob("kept-*")]
    first, second = torch.tensor([1.0, 2.0, 0.0]), torch.tensor([-1.0, 0.0, 1.0])
    (expected,) = conflict_free([first], [second])
    assert len(found) == 2
    for one in found:
        assert one == pytest.approx(expected.tolist(), rel=1e-5)
