"""azula's samplers of inverse problems on the library's constraints: exact laws where affine, costs."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from azula.denoise import Denoiser, DiracPosterior

from plumbline.constraints import Ball, Bounds, Fixed, LinearEquality
from plumbline.metrics.conditional_gaussian import gaussian_wasserstein
from plumbline.models.diffusion.diffusion import EDMScheduleSpec, RectifiedScheduleSpec
from plumbline.samplers import (
    ConditionedSpec,
    DDIMSpec,
    DiffPIRSpec,
    FlowSpec,
    MMPSSpec,
    PGDMSpec,
    RePaintSpec,
    SamplingTask,
    TDSSpec,
    TMPDSpec,
    draw,
)
from plumbline.samplers._azula import BareDenoiser

ON = {"constraint": "equalities"}
BASE = DDIMSpec(steps=100)
MIDPOINT = FlowSpec(steps=50, method="midpoint")


def same_law(found, truth, atol):
    np.testing.assert_allclose(found[0], truth[0], atol=atol)
    np.testing.assert_allclose(found[1], truth[1], atol=atol)


@pytest.mark.parametrize("solver", ["gmres", "cg"])
def test_mmps_draws_the_exact_law(gaussian_problem, exact_law, solver):
    """With an exact denoiser and a solved system; what is left is the discretisation and the start."""
    spec = MMPSSpec(**ON, base=MIDPOINT, noise=1e-3, solver=solver)
    model = gaussian_problem.model(RectifiedScheduleSpec().build())
    mean, covariance, costs = exact_law(spec, model, gaussian_problem.equality)
    assert gaussian_problem.distance(mean, covariance) < 0.005
    assert np.abs(gaussian_problem.matrix @ mean - gaussian_problem.target).max() < 0.01
    # Three steps of the solver and the correction itself.
    assert costs.backward_passes == 4 * costs.network_evaluations == 4 * 101


def test_mmps_is_conditioning_with_the_tweedie_covariance(gaussian_problem, exact_law):
    """On a schedule whose first state is noise alone, where `conditioned` starts as others do."""
    model = gaussian_problem.model(EDMScheduleSpec(sigma_max=600.0).build())
    mmps = exact_law(MMPSSpec(**ON, base=BASE, noise=1e-4), model, gaussian_problem.equality)
    own = ConditionedSpec(**ON, base=BASE, covariance="tweedie", shrinkage=0.0)
    same_law(mmps, exact_law(own, model, gaussian_problem.equality), 1e-3)


def test_tmpd_is_mmps_for_one_equality(gaussian_problem, exact_law):
    model = gaussian_problem.model()
    one = LinearEquality(
        torch.as_tensor(gaussian_problem.matrix[:1]), torch.as_tensor(gaussian_problem.target[:1])
    )
    tmpd = exact_law(TMPDSpec(**ON, base=BASE), model, one)
    same_law(tmpd, exact_law(MMPSSpec(**ON, base=BASE), model, one), 1e-6)
    assert tmpd[2].backward_passes == 2 * tmpd[2].network_evaluations == 2 * 101


def test_diffpir_projects_estimates(gaussian_problem, exact_law):
    """With little noise, it is conditioning with the isotropic covariance, from noise alone."""
    model = gaussian_problem.model(EDMScheduleSpec(sigma_max=600.0).build())
    diffpir = exact_law(DiffPIRSpec(**ON, base=BASE, noise=1e-5), model, gaussian_problem.equality)
    own = ConditionedSpec(**ON, base=BASE, covariance="isotropic")
    same_law(diffpir, exact_law(own, model, gaussian_problem.equality), 1e-3)
    assert diffpir[2].backward_passes == 0


def test_pgdm_follows_its_moments(gaussian_problem, exact_law):
    model = gaussian_problem.model()
    schedule, denoiser = model.denoiser.schedule, model.denoiser
    shift, scale = float(model.space.mean), float(model.space.scale)
    matrix = gaussian_problem.matrix
    inverse = np.linalg.pinv(matrix)
    project = np.eye(8) - inverse @ matrix
    offset = inverse @ (gaussian_problem.target - matrix @ np.full(8, shift)) / scale

    def estimate(t):
        zero = denoiser(torch.zeros(1, 8).double(), t).mean[0]
        return (denoiser(torch.eye(8).double(), t).mean - zero).numpy().T, zero.numpy()

    times = torch.linspace(1, 0, 31, dtype=torch.float64)
    mean, covariance = np.zeros(8), np.eye(8) * float(schedule(times[0])[1] ** 2 + 1)
    for t, s in pairwise(times):
        (alpha, sigma), (alpha_s, sigma_s) = ((float(v) for v in schedule(one)) for one in (t, s))
        gain, ahead = estimate(t)
        kept = sigma_s / sigma
        pull = alpha_s * alpha * gain.T
        linear = (alpha_s - kept * alpha) * gain + kept * np.eye(8) + pull @ (project - np.eye(8)) @ gain
        constant = (alpha_s - kept * alpha) * ahead + pull @ ((project - np.eye(8)) @ ahead + offset)
        mean, covariance = linear @ mean + constant, linear @ covariance @ linear.T
    gain, ahead = estimate(times[-1])
    expected = shift + scale * (gain @ mean + ahead), scale**2 * gain @ covariance @ gain.T
    found = exact_law(PGDMSpec(**ON, steps=30, eta=0.0), model, gaussian_problem.equality)
    same_law(found, expected, 1e-6)
    assert (found[2].network_evaluations, found[2].backward_passes) == (31, 30)


def test_repaint_comes_near_with_iterations(gaussian_problem, exact_law):
    """Known coordinates have their values up to the last noise; the others come near their exact law."""
    places = torch.tensor([True, False, False, True, False, False, False, False])
    values = torch.tensor([0.5, -2.0])
    fixed = Fixed(places, values)
    rows = np.eye(8)[places.numpy()]
    covariance = gaussian_problem.covariance
    gain = covariance @ rows.T @ np.linalg.inv(rows @ covariance @ rows.T)
    exact = (
        gaussian_problem.mean + gain @ (values.numpy() - rows @ gaussian_problem.mean),
        covariance - gain @ rows @ covariance,
    )
    distances = []
    model = gaussian_problem.model(RectifiedScheduleSpec().build())
    for iterations in (1, 8):
        spec = RePaintSpec(**ON, steps=60, iterations=iterations)
        mean, found, costs = exact_law(spec, model, fixed)
        assert np.abs(mean[places] - values.numpy()).max() < 0.01
        assert costs.network_evaluations == 60 * iterations + 1
        distances.append(gaussian_wasserstein(mean, found, *exact))
    assert distances[1] < 0.5 * distances[0]


def test_images_are_one_point_for_the_solvers(exact_gaussian_model, exact_law):
    """A total over an image couples all of its pixels, whatever its axes."""
    model = exact_gaussian_model(np.linspace(-1, 1, 12), np.eye(12) + 0.5, EDMScheduleSpec().build())
    total = LinearEquality(torch.ones(1, 12).double(), torch.tensor([3.0]))
    spec = DiffPIRSpec(**ON, base=DDIMSpec(steps=10), noise=1e-4)
    flat = exact_law(spec, model, total)
    model.space.shape = (3, 2, 2)
    model.space.mean, model.space.scale = (v.view(1, 1, 1) for v in (model.space.mean, model.space.scale))
    same_law(exact_law(spec, model, total), flat, 1e-9)
    assert abs(flat[0].sum() - 3) < 0.01


class Two(Denoiser):
    """The exact denoiser of two Gaussians of variance v with equal weights."""

    centres = torch.tensor([[-2.0, 0.0], [2.0, 1.0]])
    variance = 0.25

    def __init__(self):
        super().__init__()
        self.schedule = EDMScheduleSpec().build()

    def forward(self, x_t, t):
        alpha, sigma = self.schedule(t)
        total = alpha**2 * self.variance + sigma**2
        ahead = x_t[:, None] - alpha * self.centres
        weights = torch.softmax(-ahead.square().sum(2) / (2 * total), 1)
        means = self.centres + alpha * self.variance / total * ahead
        return DiracPosterior(mean=(weights[..., None] * means).sum(1))


LINE = LinearEquality(torch.tensor([[0.0, 1.0]]), torch.zeros(1))


def test_tds_weighs_the_modes():
    """Given x_2 = 0, the first mode has the weight 1 / (1 + exp(-2)) = .881; guidance by PGDM gives it .71.

    Among 4,000 particles, which depend on each other, the fraction has a standard deviation of .032, as
    measured with 20 seeds. The mean of four populations is thus within .08 in all but one of 10^6 runs.
    """
    spec = TDSSpec(constraint="line", steps=100, noise=0.05)
    x = torch.cat([draw(Two(), spec, shape=(4000, 2), constraints={"line": LINE}) for _ in range(4)])
    assert float((x[:, 0] < 0).double().mean()) == pytest.approx(0.881, abs=0.08)
    assert float(x[:, 1].abs().mean()) < 0.06


def test_tds_reports_few_effective_particles(caplog):
    far = LinearEquality(torch.tensor([[0.0, 1.0]]), torch.tensor([9.0]))
    draw(Two(), TDSSpec(constraint="line", steps=6), shape=(400, 2), constraints={"line": far})
    assert "the effective sample size fell to" in caplog.text
    task = SamplingTask({"state": torch.zeros(200, 2)}, {"line": LINE})
    drawn = TDSSpec(constraint="line", steps=20).sample(BareDenoiser(Two()), task)
    assert 0 < float(drawn.details["effective_sample_size"].min()) <= 1
    assert drawn.costs.backward_passes == drawn.costs.projection_solves == 20


@pytest.mark.rejects
def test_particles_share_target_and_condition():
    targets = LinearEquality(torch.tensor([[0.0, 1.0]]), torch.arange(4.0)[:, None])
    with pytest.raises(ValueError, match="the targets of 'line' differ between the samples"):
        draw(Two(), TDSSpec(constraint="line"), shape=(4, 2), constraints={"line": targets})
    given = {"condition": torch.arange(4.0)[:, None]}
    with pytest.raises(ValueError, match="the condition differ between the samples of a batch"):
        draw(Two(), TDSSpec(constraint="line"), shape=(4, 2), constraints={"line": LINE}, conditions=given)


@pytest.mark.parametrize("constraint", [Bounds(lower=0.0), Ball(radius=1.0)], ids=["bounds", "ball"])
@pytest.mark.parametrize("kind", [PGDMSpec, TDSSpec])
def test_projections_are_enough_for_some(kind, constraint):
    x = draw(Two(), kind(constraint="one", steps=50), shape=(200, 2), constraints={"one": constraint})
    assert float(constraint.distance(x).mean()) < 0.1


def test_repaint_needs_fixed_values():
    with pytest.raises(ValueError, match="`repaint` requires a constraint of kind `fixed`"):
        draw(Two(), RePaintSpec(constraint="line"), shape=(4, 2), constraints={"line": LINE})
